//! A server with OpenAI's files and batches, which works a batch off when it is made and tells so after some looks.

use crate::bench::KEY;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use wiremock::{Request, Respond, ResponseTemplate};

/// Longer than any test waits for a reply that is held back.
const NEVER: Duration = Duration::from_secs(600);

/// What becomes of a request in a batch.
#[derive(Clone)]
pub(crate) enum Fate {
    /// A report of its caption.
    Answered,
    /// A reply with this text.
    Says(&'static str),
    /// An HTTP error of its own.
    Fails(u16),
    /// The time was over.
    Expired,
    /// No line anywhere.
    Forgotten,
}

/// What becomes of a batch, by its number: its status in the end, the looks before that, and the fate of each request.
pub(crate) struct Script {
    pub(crate) status: fn(usize) -> &'static str,
    pub(crate) looks: usize,
    pub(crate) fate: fn(usize, usize) -> Fate,
}

impl Default for Script {
    fn default() -> Self {
        Self { status: |_| "completed", looks: 0, fate: |_, _| Fate::Answered }
    }
}

/// When the reply to a request is held back, for the process to be killed meanwhile.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Hold {
    /// The request did not reach the server.
    Before(usize),
    /// The server did it.
    After(usize),
}

#[derive(Default)]
pub(crate) struct Seen {
    /// Method and path of each request, in order.
    pub(crate) calls: Vec<(String, Instant)>,
    /// Requests of each batch that was made.
    pub(crate) batches: Vec<Vec<Value>>,
    /// What each batch was made with.
    pub(crate) made: Vec<Value>,
    files: HashMap<String, String>,
    /// Batches as the server describes them, and how often each was looked at.
    described: Vec<(Value, usize)>,
    pub(crate) hold: Option<Hold>,
    /// The replies to the next requests of a kind, in place of what was asked for; whether it is done nevertheless.
    pub(crate) instead: Vec<(&'static str, ResponseTemplate, bool)>,
    /// Batches of others at the head of the list.
    pub(crate) strangers: usize,
}

#[derive(Clone)]
pub(crate) struct BatchServer {
    pub(crate) script: Arc<Script>,
    seen: Arc<Mutex<Seen>>,
}

impl BatchServer {
    pub(crate) fn new(script: Script) -> Self {
        Self { script: Arc::new(script), seen: Arc::default() }
    }

    /// What came so far, locked as long as the guard lives: one call in a statement.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// The calls of a kind so far.
    pub(crate) fn calls(&self, kind: &str) -> usize {
        self.seen().calls.iter().filter(|(call, _)| call.starts_with(kind)).count()
    }

    /// How often each request was in a batch.
    pub(crate) fn times(&self) -> Vec<usize> {
        let mut times: HashMap<String, usize> = HashMap::new();
        for request in self.seen().batches.iter().flatten() {
            *times.entry(request["custom_id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let mut times: Vec<usize> = times.into_values().collect();
        times.sort_unstable();
        times
    }

    /// Forgets all files.
    pub(crate) fn lose_files(&self) {
        self.seen().files.clear();
    }
}

impl Respond for BatchServer {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut seen = self.seen();
        let number = seen.calls.len();
        let call = format!("{} {}", request.method, request.url.path().trim_start_matches("/v1"));
        seen.calls.push((call.clone(), Instant::now()));
        if seen.hold == Some(Hold::Before(number)) {
            return ResponseTemplate::new(503).set_delay(NEVER);
        }
        let instead = seen.instead.iter().position(|(kind, ..)| call.starts_with(kind));
        let instead = instead.map(|place| seen.instead.remove(place));
        let reply = match &instead {
            Some((_, template, false)) => return template.clone(),
            _ => seen.answer(&self.script, &call, request),
        };
        match instead {
            Some((_, template, _)) => template,
            None if seen.hold == Some(Hold::After(number)) => reply.set_delay(NEVER),
            None => reply,
        }
    }
}

fn refuse(status: u16, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"error": {"message": message}}))
}

impl Seen {
    fn answer(&mut self, script: &Script, call: &str, request: &Request) -> ResponseTemplate {
        let sent = request.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        assert!(sent.is_none_or(|sent| sent == format!("Bearer {KEY}")));
        let (method, path) = call.split_once(' ').unwrap();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, &segments[..]) {
            ("POST", ["files"]) => {
                let id = format!("file-in-{}", self.files.len());
                self.files.insert(id.clone(), upload(request));
                ResponseTemplate::new(200)
                    .set_body_json(json!({"id": id, "object": "file", "purpose": "batch"}))
            }
            ("GET", ["files", id, "content"]) => match self.files.get(*id) {
                Some(text) => {
                    ResponseTemplate::new(200).set_body_raw(text.clone(), "application/octet-stream")
                }
                None => refuse(404, "no such file"),
            },
            ("POST", ["batches"]) => {
                let made: Value = serde_json::from_slice(&request.body).unwrap();
                match self.files.get(made["input_file_id"].as_str().unwrap()).cloned() {
                    Some(text) => self.make(script, &made, &text),
                    None => refuse(400, "no such input file"),
                }
            }
            ("GET", ["batches"]) => self.list(request),
            ("GET", ["batches", id]) => {
                let Some((batch, looks)) = self.described.iter_mut().find(|(batch, _)| batch["id"] == **id)
                else {
                    return refuse(404, "no such batch");
                };
                *looks += 1;
                let mut batch = batch.clone();
                if *looks <= script.looks {
                    batch["status"] = json!("in_progress");
                    batch["output_file_id"] = Value::Null;
                }
                ResponseTemplate::new(200).set_body_json(batch)
            }
            _ => refuse(404, "no such address"),
        }
    }

    fn make(&mut self, script: &Script, made: &Value, text: &str) -> ResponseTemplate {
        assert_eq!(
            (&made["endpoint"], &made["completion_window"]),
            (&json!("/v1/chat/completions"), &json!("24h"))
        );
        let requests: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let number = self.batches.len();
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (i, request) in requests.iter().enumerate() {
            let answer = |status: u16, body: Value| {
                json!({"id": "x", "custom_id": request["custom_id"], "error": null,
                "response": {"status_code": status, "request_id": "r", "body": body}})
            };
            match (script.fate)(number, i) {
                Fate::Answered => good.push(answer(200, completion(&report(request)))),
                Fate::Says(text) => good.push(answer(200, completion(text))),
                Fate::Fails(status) => bad.push(answer(status, json!({"error": {"message": "injected"}}))),
                Fate::Expired => bad.push(json!({"id": "x", "custom_id": request["custom_id"], "response": null,
                    "error": {"code": "batch_expired", "message": "This request could not be executed in time."}})),
                Fate::Forgotten => {}
            }
        }
        let id = format!("batch_{number}");
        let mut file = |kind: &str, lines: Vec<Value>| {
            let name = format!("file-{kind}-{number}");
            // in another order than asked, with blank lines between
            let text: Vec<String> = lines.iter().rev().map(|line| format!("\n{line}\n  \n")).collect();
            self.files.insert(name.clone(), text.concat());
            if lines.is_empty() { Value::Null } else { json!(name) }
        };
        let status = (script.status)(number);
        let errors = match status {
            "failed" => {
                json!({"object": "list", "data": [{"code": "invalid", "message": "bad line", "line": 1}]})
            }
            "too much" => {
                json!({"object": "list", "data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]})
            }
            _ => Value::Null,
        };
        let refused = !errors.is_null();
        let batch = json!({
            "id": id, "object": "batch", "endpoint": made["endpoint"], "errors": errors, "metadata": made["metadata"],
            "input_file_id": made["input_file_id"], "status": if refused { "failed" } else { status },
            "output_file_id": file("out", if refused { Vec::new() } else { good }),
            "error_file_id": file("err", if refused { Vec::new() } else { bad }),
        });
        self.described.push((batch.clone(), 0));
        self.batches.push(requests);
        self.made.push(made.clone());
        let mut fresh = batch;
        fresh["status"] = json!("validating");
        ResponseTemplate::new(200).set_body_json(fresh)
    }

    fn list(&self, request: &Request) -> ResponseTemplate {
        let of = |name: &str| {
            request.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let strangers = (0..self.strangers).map(|i| json!({"id": format!("stranger_{i}"), "metadata": null}));
        let own = self.described.iter().rev().map(|(batch, _)| batch.clone());
        let mut listed: Vec<Value> = strangers.chain(own).collect();
        if let Some(after) = of("after") {
            let place = listed.iter().position(|batch| batch["id"] == after.as_str()).unwrap();
            listed.drain(..=place);
        }
        let limit: usize = of("limit").unwrap().parse().unwrap();
        let has_more = listed.len() > limit;
        listed.truncate(limit);
        ResponseTemplate::new(200)
            .set_body_json(json!({"object": "list", "data": listed, "has_more": has_more}))
    }
}

/// The file in a form, which is to be used for a batch.
fn upload(request: &Request) -> String {
    let kind = request.headers.get("content-type").unwrap().to_str().unwrap();
    let boundary = format!("--{}", kind.split_once("multipart/form-data; boundary=").unwrap().1);
    let body = String::from_utf8(request.body.clone()).unwrap();
    let parts: Vec<&str> = body.split(boundary.as_str()).collect();
    let part = |name: &str| {
        let found = parts.iter().find(|part| part.contains(&format!("name=\"{name}\""))).unwrap();
        found.split_once("\r\n\r\n").unwrap().1.trim_end_matches("\r\n").to_owned()
    };
    assert_eq!(part("purpose"), "batch");
    assert!(body.contains(".jsonl\""), "the file has a name");
    part("file")
}

fn completion(text: &str) -> Value {
    json!({
        "model": "served-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20},
    })
}

/// A report that depends on the caption only, as that of the chat server.
fn report(request: &Value) -> String {
    let user = request["body"]["messages"][1]["content"].as_str().unwrap();
    let n: String =
        user.split("abdomen with ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
    format!("The axial computed tomography slice of the abdomen shows dense structures, {n} in number.")
}
