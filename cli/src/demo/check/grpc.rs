//! gRPC through both sidecars: single calls, a conversation, and a refusal in gRPC's own words.
use std::time::{Duration, Instant};

use futures::{channel::mpsc, future::join_all};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use weft_proto::demo::Price;

use super::{Found, command, figure};
use crate::{
    demo::{
        mesh::Mesh,
        service::prices::{decision, name, refused},
    },
    failure::{Failure, While},
};

/// Single calls, and how many of them are under way at once on their one connection.
const CALLS: usize = 500;
const AT_ONCE: usize = 10;
/// Questions of the conversation, each asked after the answer to the one before it.
const QUESTIONS: usize = 100;
/// How long one message of a conversation may take.
const MESSAGE: Duration = Duration::from_secs(5);

/// Single calls must be answered, and an error of the application's own must come as it was told.
pub(super) async fn unary(mesh: &Mesh) -> Found {
    let prices = mesh.prices("catalog-0")?;
    let started = Instant::now();
    let callers = (0..AT_ONCE).map(|_| async {
        for _ in 0..CALLS / AT_ONCE {
            let price = prices.quote("teapot").await.map_err(refused)?;
            if (price.cents, price.instance.as_str()) != (2400, "prices-0") {
                return Err(Failure::new(format!("a teapot is said to cost {} by {}", price.cents, price.instance)));
            }
        }
        Ok(())
    });
    join_all(callers).await.into_iter().collect::<Result<(), Failure>>()?;
    let took = started.elapsed();
    let Err(status) = prices.quote("samovar").await else { return Err(Failure::new("a samovar has a price")) };
    let text = format!(
        "{CALLS} of {CALLS} in {:.0} ms on one connection; what the shop does not have is {}",
        took.as_secs_f64() * 1000.0,
        told(&status)
    );
    let own = status.code() == Code::NotFound && status.message() == "the shop has no \"samovar\"";
    figure(own && decision(&status).is_none(), text)
}

/// A conversation: each question goes out after the answer to the one before it, so that neither direction can have been
/// held back; its end must come with status, words and trailers.
pub(super) async fn streaming(mesh: &Mesh) -> Found {
    let prices = mesh.prices("catalog-0")?;
    let (ask, questions) = mpsc::unbounded();
    let say = |item: &str| ask.unbounded_send(item.to_owned()).while_("ask for a price");
    // The answer's head may come with the first price only.
    say("cup")?;
    let mut answers = prices.quote_each(questions).await.map_err(refused)?;
    let started = Instant::now();
    for asked in 1..=QUESTIONS {
        match next(&mut answers).await? {
            Ok(Some(price)) if price.cents == 750 => {}
            other => return Err(Failure::new(format!("question {asked} was answered by {other:?}"))),
        }
        if asked < QUESTIONS {
            say("cup")?;
        }
    }
    let took = started.elapsed();
    say("samovar")?;
    let Err(status) = next(&mut answers).await? else { return Err(Failure::new("a samovar has a price")) };
    let quoted = status.metadata().get("x-quoted").and_then(|count| count.to_str().ok()).unwrap_or("absent");
    let text = format!(
        "{QUESTIONS} questions, each after the answer to the last, in {:.0} ms on one stream, which then ended with {} \
         and the trailer x-quoted: {quoted}",
        took.as_secs_f64() * 1000.0,
        told(&status)
    );
    figure(status.code() == Code::NotFound && quoted == QUESTIONS.to_string(), text)
}

async fn next(answers: &mut Streaming<Price>) -> Result<Result<Option<Price>, Status>, Failure> {
    timeout(MESSAGE, answers.message()).await.map_err(|_| Failure::new("no answer came while the stream was open"))
}

/// The intruder's call must be refused with a status, and its decision be found by `weft explain`.
pub(super) async fn refusal(mesh: &Mesh) -> Found {
    let answer = mesh.prices("intruder-0")?.quote("teapot").await;
    let Err(status) = answer else { return Err(Failure::new("the intruder was told a price")) };
    let Some(id) = decision(&status) else {
        return Err(Failure::new(format!("{} without x-weft-decision", told(&status))));
    };
    let explained = command::printed(mesh, &["explain", id], "").await?;
    let policy = explained.lines().find(|line| line.contains("AccessPolicy shop/prices (shop.yaml:"));
    let line = policy.unwrap_or("nothing of AccessPolicy shop/prices").trim();
    let text = format!("{}, x-weft-decision: {id}; `weft explain` names {line:?}", told(&status));
    figure(status.code() == Code::PermissionDenied && policy.is_some(), text)
}

fn told(status: &Status) -> String {
    format!("{} {:?}", name(status.code()), status.message())
}
