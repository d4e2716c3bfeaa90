//! From an answer of the gateway to lines of stdout, in either era: a JSON body is one line, each event of a stream
//! is one. Bytes are those of the gateway; only line breaks between tokens become spaces.

use std::rc::Rc;

use hyper::StatusCode;
use hyper::body::Bytes;
use strait_protocol::Span;
use strait_protocol::jsonrpc::{Elements, Envelope, Kind, Message, Scanner};
use strait_protocol::mcp::Method;
use tokio::time::timeout;

use super::Front;
use super::budget::Held;
use super::link::{Answer, Events, Media};
use super::trouble::Trouble;
use super::under_way::{Id, Place};
use crate::limits::FRONT_LINGER_WITHIN;
use crate::log;

/// A request, or a batch, and what of it has no answer yet.
pub struct Asked {
    pub body: Bytes,
    /// None for a batch.
    pub message: Option<Message>,
    /// Ids without an answer, as written and as meant.
    awaited: Vec<(Vec<u8>, Id)>,
    pub place: Place,
    /// The bytes are counted for as long as they may have to be sent again.
    _held: Held,
}

/// How a stream ended.
pub enum Carried {
    Answered,
    /// Before the answer: how to go on, and why it ended where that is known.
    Cut(Box<Events>, Trouble),
}

impl Asked {
    pub fn new(body: Bytes, message: Option<Message>, ids: Vec<Vec<u8>>, place: Place, held: Held) -> Asked {
        let awaited = ids.into_iter().map(|raw| (raw.clone(), Id::of(&raw))).collect();
        Asked { body, message, awaited, place, _held: held }
    }

    pub fn method(&self) -> Option<Method> {
        self.message.map(|message| message.method)
    }

    pub fn is_answered(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Notes that the answer to this id has come; false when nobody awaits it.
    pub fn answered(&mut self, raw: &[u8]) -> bool {
        let id = Id::of(raw);
        let before = self.awaited.len();
        self.awaited.retain(|(_, awaited)| *awaited != id);
        self.awaited.len() < before
    }

    /// The errors of everything that has no answer, as one message.
    pub fn errors(&self, trouble: &Trouble) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, (raw, _)) in self.awaited.iter().enumerate() {
            out.push(if at == 0 { b'[' } else { b',' });
            trouble.append(&mut out, raw);
        }
        match self.message {
            Some(_) => out.split_off(1),
            None => {
                out.push(b']');
                out
            }
        }
    }
}

/// Carries an answer to stdout, whatever its form.
pub async fn carry(front: &Rc<Front>, answer: Answer, asked: &mut Asked) -> Result<Carried, Trouble> {
    if !answer.status.is_success() {
        return Err(Trouble::refused(answer).await);
    }
    match answer.media() {
        Media::Events => events(front, answer.events(), asked).await,
        Media::Json => {
            let (body, _held) = answer.whole().await?;
            let fate = take(front, &body, asked)?;
            if let Fate::Pass = fate {
                front.outbox.send(body).await;
            }
            if asked.is_answered() {
                return Ok(Carried::Answered);
            }
            Err(Trouble::NotMcp("it does not answer the request".into()))
        }
        Media::Other if answer.status == StatusCode::ACCEPTED => {
            Err(Trouble::NotMcp("202, as if nothing had been asked".into()))
        }
        Media::Other => Err(Trouble::NotMcp("neither JSON nor an event stream".into())),
    }
}

/// Carries the events of a stream.
pub async fn events(front: &Rc<Front>, mut events: Events, asked: &mut Asked) -> Result<Carried, Trouble> {
    loop {
        match events.next().await {
            Ok(Some(message)) => match take(front, &message, asked) {
                Ok(Fate::Pass) => front.outbox.send(message).await,
                Ok(Fate::Drop) => {}
                Err(trouble) => log::warn(format!("strait stdio: an event is passed over: {trouble}")),
            },
            Ok(None) if asked.is_answered() => return Ok(Carried::Answered),
            Ok(None) => return Ok(Carried::Cut(Box::new(events), Trouble::Cut)),
            Err(trouble) if events.last_event_id().is_some() && !asked.is_answered() => {
                return Ok(Carried::Cut(Box::new(events), trouble));
            }
            Err(trouble) => return Err(trouble),
        }
        if asked.is_answered() {
            tokio::task::spawn_local(linger(front.clone(), events));
            return Ok(Carried::Answered);
        }
    }
}

/// A stream should end after its answer; what still comes is the client's all the same.
async fn linger(front: Rc<Front>, mut events: Events) {
    let rest = async {
        while let Ok(Some(message)) = events.next().await {
            unasked(&front, message).await;
        }
    };
    let _ = timeout(FRONT_LINGER_WITHIN, rest).await;
}

/// Passes on a message that answers nothing.
pub async fn unasked(front: &Front, message: Vec<u8>) {
    match scan(&message) {
        Ok(envelope) if envelope.kind() != Some(Kind::Response) => front.outbox.send(message).await,
        Ok(_) => log::warn("strait stdio: the gateway answers what nobody asked; it is passed over"),
        Err(trouble) => log::warn(format!("strait stdio: an event is passed over: {trouble}")),
    }
}

enum Fate {
    Pass,
    Drop,
}

/// Looks at a message on its way, or at an array of them.
fn take(front: &Front, bytes: &[u8], asked: &mut Asked) -> Result<Fate, Trouble> {
    if asked.message.is_none() && bytes.trim_ascii_start().first() == Some(&b'[') {
        let start = bytes.len() - bytes.trim_ascii_start().len();
        for element in Elements::of(bytes, Span::between(start, bytes.trim_ascii_end().len())) {
            let element = element.map_err(|fault| Trouble::NotMcp(fault.to_string()))?;
            take_one(front, element.of(bytes), asked)?;
        }
        return Ok(Fate::Pass);
    }
    take_one(front, bytes, asked)
}

fn take_one(front: &Front, bytes: &[u8], asked: &mut Asked) -> Result<Fate, Trouble> {
    let envelope = scan(bytes)?;
    if envelope.kind() == Some(Kind::Response) {
        let id = envelope.id.map(|id| id.of(bytes)).unwrap_or_default();
        if !asked.answered(id) {
            log::warn("strait stdio: the gateway answers what was not asked here; it is passed over");
            return Ok(Fate::Drop);
        }
        if asked.method() == Some(Method::ToolsList)
            && let (Some(result), Some(message)) = (envelope.result, asked.message)
        {
            front.mirror.borrow_mut().learn(bytes, result, message.cursor.is_none());
        }
    }
    Ok(Fate::Pass)
}

/// The envelope of a message of the gateway, which must be one that a line can hold.
pub fn scan(bytes: &[u8]) -> Result<Envelope, Trouble> {
    let not_mcp = |why: String| Trouble::NotMcp(why);
    std::str::from_utf8(bytes).map_err(|error| not_mcp(error.to_string()))?;
    let mut scanner = Scanner::new();
    scanner.feed(bytes).map_err(|fault| not_mcp(fault.message()))?;
    let envelope = scanner.finish().map_err(|fault| not_mcp(fault.message()))?;
    match envelope.kind() {
        Some(_) if envelope.jsonrpc_ok => Ok(*envelope),
        _ => Err(not_mcp("neither a request nor an answer".into())),
    }
}

/// Everything that an answer holds up to the final message, and that one: for whoever must know it before the
/// client does.
pub async fn gather(answer: Answer) -> Result<(Vec<Vec<u8>>, Vec<u8>, Envelope), Trouble> {
    if !answer.status.is_success() {
        return Err(Trouble::refused(answer).await);
    }
    match answer.media() {
        Media::Json => {
            let (message, _held) = answer.whole().await?;
            let envelope = scan(&message)?;
            match envelope.kind() {
                Some(Kind::Response) => Ok((Vec::new(), message, envelope)),
                _ => Err(Trouble::NotMcp("it does not answer the request".into())),
            }
        }
        Media::Events => {
            let (mut before, mut bytes, mut events) = (Vec::new(), 0, answer.events());
            while let Some(message) = events.next().await? {
                let envelope = scan(&message)?;
                if envelope.kind() == Some(Kind::Response) {
                    return Ok((before, message, envelope));
                }
                bytes += message.len();
                if bytes > crate::limits::FRONT_LINE_BYTES_MAX {
                    return Err(Trouble::AnswerTooLarge);
                }
                before.push(message);
            }
            Err(Trouble::Cut)
        }
        Media::Other => Err(Trouble::NotMcp("neither JSON nor an event stream".into())),
    }
}
