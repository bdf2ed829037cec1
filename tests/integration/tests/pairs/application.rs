//! The application behind every called workload: it says where and how it was reached, and remembers it.
use std::{cell::RefCell, collections::HashMap, io, rc::Rc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn_local,
};
use weft_model::Port;

use crate::{filters::ANSWER_FIELDS, requests::PAIR};

/// How a request reached the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Through which port; each belongs to one workload.
    pub(crate) port: Port,
    /// The request line's method.
    pub(crate) method: String,
    /// The request line's target.
    pub(crate) target: String,
    /// The Host field.
    pub(crate) host: String,
    /// The fields that filters may change ([`filterable`]), in order.
    pub(crate) fields: Vec<(String, String)>,
    /// The body without its framing.
    pub(crate) body: String,
    /// Of a copy, the id of its original's record.
    pub(crate) copy_of: Option<String>,
}

/// The fields of those lines that filters of these tests may change, with names in lower case, ordered by name. Those of
/// one name keep their order.
pub(crate) fn filterable<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let all = lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let ours = |name: &str| [PAIR, "x-weft-decision", "x-weft-mirror", "x-request-id"].contains(&name);
    let mut fields: Vec<_> = all
        .filter(|(name, _)| ["x-", "access-control-"].iter().any(|it| name.starts_with(it)) && !ours(name))
        .collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

impl Reached {
    /// What it is answered with.
    pub(crate) fn answer(&self) -> String {
        let Self { port, method, target, host, fields: _, body, copy_of: _ } = self;
        format!("port {port}: {method} {target} of {host} with {body:?}\n")
    }
}

/// What reached the applications, by the requests' numbers.
pub(crate) type Visits = Rc<RefCell<HashMap<u64, Vec<Reached>>>>;

/// Serves on a port of the system's choice, which is returned.
pub(crate) async fn serve(visits: &Visits) -> io::Result<Port> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = Port::new(listener.local_addr()?.port()).expect("a bound port");
    let visits = Rc::clone(visits);
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let visits = Rc::clone(&visits);
            spawn_local(async move {
                // A proxy that goes away ends its connection; that nothing is lost is seen from its other side.
                let _gone = connection(stream, port, &visits).await;
            });
        }
    });
    Ok(port)
}

async fn connection(mut stream: TcpStream, port: Port, visits: &Visits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(head) = until(&mut stream, &mut buffer, b"\r\n\r\n").await? else { return Ok(()) };
        let head = String::from_utf8_lossy(&head).into_owned();
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let body = match (field("content-length"), field("transfer-encoding")) {
            (Some(length), _) => exactly(&mut stream, &mut buffer, length.parse().unwrap_or(0)).await?,
            (None, Some(_)) => chunks(&mut stream, &mut buffer).await?,
            (None, None) => Vec::new(),
        };
        let mut line = head.lines().next().unwrap_or_default().split(' ');
        let mut word = || line.next().unwrap_or_default().to_owned();
        let (method, target) = (word(), word());
        let host = field("host").unwrap_or_default();
        let fields = filterable(head.lines().skip(1).filter_map(|line| line.split_once(':')));
        let body = String::from_utf8_lossy(&body).into_owned();
        let reached = Reached { port, method, target, host, fields, body, copy_of: field("x-weft-mirror") };
        let answer = reached.answer();
        let shown = if reached.method == "HEAD" { "" } else { &answer };
        let told: String = ANSWER_FIELDS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{told}content-length: {}\r\n\r\n{shown}", answer.len());
        let pair = field(PAIR).and_then(|pair| pair.parse().ok()).unwrap_or(u64::MAX);
        visits.borrow_mut().entry(pair).or_default().push(reached);
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// Everything up to and with `end`; nothing if the stream has ended.
async fn until(stream: &mut TcpStream, buffer: &mut Vec<u8>, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|window| window == end) {
            return Ok(Some(buffer.drain(..at + end.len()).collect()));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

async fn exactly(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..length).collect())
}

async fn chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = until(stream, buffer, b"\r\n").await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut chunk = exactly(stream, buffer, size + 2).await?;
        chunk.truncate(size);
        body.append(&mut chunk);
        if size == 0 {
            return Ok(body);
        }
    }
}
