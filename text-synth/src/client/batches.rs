//! Files and batches as OpenAI's API has them: requests go up as a file, the server works them off in its own time, answers come
//! back as files.

mod record;

use super::classify::{self, Answer, Verdict};
use super::{Client, Event};
pub use record::{Batch, Status};
use reqwest::multipart::{Form, Part};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use stage::Message;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::time::{Duration, SystemTime};

/// Where the requests of a batch go, as the server names it.
pub const URL: &str = "/v1/chat/completions";
/// How long the server may take; no other value is defined.
const WINDOW: &str = "24h";
/// Batches of one page of a list.
const PAGE: usize = 100;
/// Bytes a second of the slowest link over which files are sent.
const SLOWEST_LINK: u64 = 100_000;
/// Longest time for a file to come; what counts is how long its next piece takes.
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Deserialize)]
struct Page {
    data: Option<Vec<Batch>>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Uploaded {
    id: String,
}

/// An exchange that did not bring what was asked for.
#[derive(Debug)]
pub struct Refusal {
    /// Status code; 0 without an answer.
    status: u16,
    verdict: Verdict,
}

/// Why something could not be had from the server, after all retries.
#[derive(Debug)]
pub enum Trouble {
    /// The server does not do it, with this status code.
    Refused(u16, Message),
    /// What may pass did not (`E201`, `E203`), or the connection cannot be made secure (`E220`).
    Failed(Message),
}

impl Trouble {
    /// Whether the server does not know the address or what is to be done there.
    #[must_use]
    pub fn is_no_endpoint(&self) -> bool {
        matches!(self, Self::Refused(status, _) if is_no_endpoint(*status))
    }

    /// What is to be said of it.
    #[must_use]
    pub fn into_message(self) -> Message {
        match self {
            Self::Refused(_, message) | Self::Failed(message) => message,
        }
    }
}

fn is_no_endpoint(status: u16) -> bool {
    matches!(status, 404 | 405 | 501)
}

impl Client {
    /// Does something until it is done or given up; pauses and retries are told as for chat completions.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn persist<T>(&self, mut once: impl AsyncFnMut() -> Result<T, Refusal>) -> Result<T, Trouble> {
        let mut retry = 0;
        loop {
            let Refusal { status, verdict } = match once().await {
                Ok(done) => return Ok(done),
                Err(refusal) => refusal,
            };
            let (reason, after, pause) = match verdict {
                Verdict::Again { reason, .. } if is_no_endpoint(status) => {
                    return Err(Trouble::Refused(status, self.refused(&reason)));
                }
                Verdict::Again { reason, after, pause } => (reason, after, pause),
                Verdict::Unreadable(reason) => (reason, None, false),
                Verdict::Item(reason) | Verdict::NoSchema(reason) | Verdict::Run(reason) => {
                    return Err(Trouble::Refused(status, self.refused(&reason)));
                }
                Verdict::Insecure(reason) => return Err(Trouble::Failed(self.insecure(&reason))),
                // of a chat completion only
                Verdict::Reply(_) => return Err(Trouble::Failed(self.unreached("not what was asked for"))),
            };
            if let Some(after) = after
                && after > self.options.backoff.longest
            {
                return Err(Trouble::Failed(self.asks_too_much(after, &reason)));
            }
            retry += 1;
            if retry > self.options.retries {
                return Err(Trouble::Failed(self.unreached(&reason)));
            }
            let wait = self.options.backoff.delay(retry, after, rand::random());
            self.tell(if pause {
                Event::Paused { wait, is_asked: after.is_some(), reason, begins: true }
            } else {
                Event::Retrying { reason, retry }
            });
            tokio::time::sleep(wait).await;
        }
    }

    /// Asks whether there are batches at all.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn probe_batches(&self) -> Result<(), Refusal> {
        self.page(None, 1).await.map(|_page| ())
    }

    /// The newest batch that fits.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn find_batch(&self, fits: impl Fn(&Batch) -> bool) -> Result<Option<Batch>, Refusal> {
        let mut after: Option<String> = None;
        loop {
            let (batches, has_more) = self.page(after.as_deref(), PAGE).await?;
            let last = batches.last().map(|batch| batch.id.clone());
            if let Some(found) = batches.into_iter().find(&fits) {
                return Ok(Some(found));
            }
            // a server that cannot turn pages gives the first one again
            if !has_more || last.is_none() || last == after {
                return Ok(None);
            }
            after = last;
        }
    }

    async fn page(&self, after: Option<&str>, limit: usize) -> Result<(Vec<Batch>, bool), Refusal> {
        let mut url = self.endpoint.below(&["batches"]);
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let answer = self.answer(self.http.get(url)).await?;
        let page: Page = parse(&answer, "list of batches")?;
        match page.data {
            Some(mut batches) => {
                batches.iter_mut().for_each(|batch| batch.secret = answer.secret.clone());
                Ok((batches, page.has_more))
            }
            // some servers answer so to addresses that they do not know
            None => {
                let verdict = Verdict::Run(format!("HTTP {}: no list of batches", answer.status));
                Err(Refusal { status: 404, verdict })
            }
        }
    }

    /// How far a batch is, and how long the server would like to be left alone.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn batch(&self, id: &str) -> Result<(Batch, Option<Duration>), Refusal> {
        let answer = self.answer(self.http.get(self.endpoint.below(&["batches", id]))).await?;
        let after =
            answer.retry_after.as_deref().and_then(|text| classify::retry_after(text, SystemTime::now()));
        Ok((batch_of(&answer)?, after))
    }

    /// Has the requests of a file worked off. It may have been done also where this fails: look for the batch before this is
    /// repeated.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn create_batch(&self, file: &str, metadata: &[(&str, &str)]) -> Result<Batch, Refusal> {
        let metadata: BTreeMap<_, _> = metadata.iter().copied().collect();
        let body = json!({
            "input_file_id": file,
            "endpoint": URL,
            "completion_window": WINDOW,
            "metadata": metadata,
        });
        let request = self.http.post(self.endpoint.below(&["batches"])).json(&body);
        batch_of(&self.answer(request).await?)
    }

    /// Sends a file of requests; gives its id.
    ///
    /// # Errors
    /// [`Refusal`]; inside, where the file cannot be read.
    pub async fn upload(&self, file: &File, name: &str) -> Result<io::Result<String>, Refusal> {
        let opened = || {
            let mut file = file.try_clone()?;
            file.rewind()?;
            Ok((file.metadata()?.len(), file))
        };
        let (bytes, file) = match opened() {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let part =
            Part::stream_with_length(tokio::fs::File::from_std(file), bytes).file_name(name.to_owned());
        let form = Form::new().text("purpose", "batch").part("file", part);
        let timeout = self.options.timeout + Duration::from_secs(bytes / SLOWEST_LINK);
        let request = self.http.post(self.endpoint.below(&["files"])).multipart(form).timeout(timeout);
        let uploaded: Uploaded = parse(&self.answer(request).await?, "file")?;
        Ok(Ok(uploaded.id))
    }

    /// Writes the content of a file of the server to `to`, piece by piece, whatever was there before.
    ///
    /// # Errors
    /// [`Refusal`]; inside, where `to` cannot be written.
    pub async fn download(&self, id: &str, to: &mut File) -> Result<io::Result<()>, Refusal> {
        let url = self.endpoint.below(&["files", id, "content"]);
        let mut response = self.first_piece(url).await?;
        if let Err(error) = to.set_len(0).and_then(|()| to.rewind()) {
            return Ok(Err(error));
        }
        loop {
            let piece = tokio::time::timeout(self.options.timeout, response.chunk()).await;
            match piece {
                Ok(Ok(Some(piece))) => {
                    if let Err(error) = to.write_all(&piece) {
                        return Ok(Err(error));
                    }
                }
                Ok(Ok(None)) => return Ok(to.rewind()),
                Ok(Err(error)) => return Err(error.into()),
                Err(_elapsed) => return Err(Refusal::stuck()),
            }
        }
    }

    /// The answer that brings a file, of which no byte was read yet.
    async fn first_piece(&self, url: Url) -> Result<reqwest::Response, Refusal> {
        let sent = tokio::time::timeout(self.options.timeout, self.http.get(url).timeout(DAY).send()).await;
        let response = sent.map_err(|_elapsed| Refusal::stuck())??;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(Refusal::of(&self.read(response).await?))
    }

    /// Sends a request; gives the answer where it is a good one.
    async fn answer(&self, request: RequestBuilder) -> Result<Answer, Refusal> {
        let answer = self.receive(request).await?;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(Refusal::of(&answer)) }
    }
}

impl Refusal {
    /// Of an answer that is no good one.
    fn of(answer: &Answer) -> Self {
        let again = || again(format!("HTTP {}", answer.status));
        let verdict = classify::refusal(answer, SystemTime::now()).unwrap_or_else(again);
        Self { status: answer.status, verdict }
    }

    fn stuck() -> Self {
        Self { status: 0, verdict: again("no answer in time".to_owned()) }
    }
}

impl From<reqwest::Error> for Refusal {
    fn from(error: reqwest::Error) -> Self {
        Self { status: 0, verdict: classify::failed(&error) }
    }
}

fn again(reason: String) -> Verdict {
    Verdict::Again { reason, after: None, pause: false }
}

fn batch_of(answer: &Answer) -> Result<Batch, Refusal> {
    let mut batch: Batch = parse(answer, "batch")?;
    batch.secret = answer.secret.clone();
    Ok(batch)
}

fn parse<T: DeserializeOwned>(answer: &Answer, what: &str) -> Result<T, Refusal> {
    classify::parse(answer, what).map_err(|verdict| Refusal { status: answer.status, verdict })
}
