//! Waiting, and the end of runs.

use super::*;
use serde_json::json;
use std::time::Instant;
use tokio::sync::mpsc::UnboundedReceiver;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A client for two requests at a time.
fn client(server: &MockServer, backoff: Backoff) -> (Arc<Client>, UnboundedReceiver<Event>) {
    let timeout = Duration::from_secs(60);
    let options = Options { timeout, retries: 3, backoff, concurrency: 2, most_requests: None };
    let (events, heard) = tokio::sync::mpsc::unbounded_channel();
    let shared = Arc::new(Shared::new(Rates::default()));
    let endpoint = Endpoint::new(&server.uri(), &[], None).unwrap();
    (Arc::new(Client::new(endpoint, options, shared, events).unwrap()), heard)
}

/// A first request that fails once and would wait for a minute, and a second one that is answered after a while: seconds
/// until the first is answered, or none.
async fn seconds(drained: bool) -> Option<f64> {
    let server = MockServer::start().await;
    let reply = json!({"choices": [{"finish_reason": "stop", "message": {"content": "text"}}]});
    let good = |template: ResponseTemplate| Mock::given(any()).respond_with(template);
    good(ResponseTemplate::new(500)).up_to_n_times(1).with_priority(1).mount(&server).await;
    let answer = ResponseTemplate::new(200).set_body_json(&reply).set_delay(Duration::from_millis(200));
    good(answer).mount(&server).await;
    let minute = Duration::from_secs(60);
    let backoff = Backoff { base: 2 * minute, cap: 2 * minute, longest: minute };
    let (client, mut heard) = client(&server, backoff);
    client.drained(drained);
    let started = Instant::now();
    let (first, body) = (Arc::clone(&client), json!({}));
    let slot = client.slot().unwrap();
    let waiting = tokio::spawn(async move { first.chat(&body, 1, slot).await });
    assert!(matches!(heard.recv().await, Some(Event::Retrying { retry: 1, .. })));
    client.chat(&json!({}), 1, client.slot().unwrap()).await.unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(5), waiting).await.ok()?;
    reply.unwrap().unwrap();
    Some(started.elapsed().as_secs_f64())
}

#[tokio::test]
async fn a_wait_ends_early_only_where_nothing_else_is_left() {
    let (last, among_others) = tokio::join!(seconds(true), seconds(false));
    let last = last.unwrap();
    assert!((0.2..4.0).contains(&last), "{last}");
    assert_eq!(among_others, None);
}

#[tokio::test]
async fn nothing_is_sent_after_a_reply_that_ends_the_run() {
    for (status, header) in [(401, None), (503, Some("3600"))] {
        let server = MockServer::start().await;
        let mut answer = ResponseTemplate::new(status);
        if let Some(seconds) = header {
            answer = answer.insert_header("retry-after", seconds);
        }
        Mock::given(any()).respond_with(answer).mount(&server).await;
        let (client, _heard) = client(&server, Backoff::default());
        let body = json!({});
        let [first, second] = [client.slot().unwrap(), client.slot().unwrap()];
        let first = client.chat(&body, 1, first).await;
        assert!(matches!(first, Err(Failure::Run(_))), "{first:?}");
        // one that had its slot before, and one that finds a free one
        for slot in [Some(second), client.slot()] {
            let later = client.chat(&body, 1, slot.unwrap()).await;
            assert!(matches!(later, Err(Failure::NotSent)), "{later:?}");
        }
        assert_eq!(server.received_requests().await.unwrap().len(), 1, "{status}");
    }
}

#[test]
fn requests_are_counted_up_to_the_limit() {
    let shared = Shared::new(Rates::default());
    assert!(shared.take(Some(2)) && shared.take(Some(2)) && !shared.take(Some(2)));
    assert_eq!(shared.sent(), 2);
    assert!(shared.take(None));
}
