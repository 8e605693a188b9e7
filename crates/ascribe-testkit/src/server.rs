//! A server on the loopback device that does what a test tells it to, and misbehaves as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET` or `POST`.
    pub method: String,
    /// The path, from the first slash.
    pub path: String,
    /// The header lines.
    pub headers: Vec<String>,
    /// The body; null where there is none.
    pub body: Value,
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Does {
    /// Answers with this status, these header lines and this body.
    Says(u16, Vec<String>, String),
    /// Writes these bytes as they are, and closes the connection.
    Writes(String),
    /// Answers nothing until the server is dropped.
    Hangs,
}

impl Does {
    /// Answers with a JSON value.
    pub fn json(value: Value) -> Self {
        Self::Says(200, Vec::new(), value.to_string())
    }

    /// Streams these events, as far as they go, and closes the connection.
    pub fn streams(events: &[String]) -> Self {
        let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        Self::Writes(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{events}"))
    }
}

/// A server that ends when it is dropped.
pub struct Server {
    /// `http://127.0.0.1:<port>`.
    pub address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// A server that does what `answer` says for each request, each in a thread of its own.
    pub fn start(answer: impl Fn(&Asked) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("the port of a listener"));
        let (asked, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (answer, log, ended) = (Arc::new(answer), Arc::clone(&asked), Arc::clone(&over));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, log, ended) = (Arc::clone(&answer), Arc::clone(&log), Arc::clone(&ended));
                // A client that goes away in the middle is no fault of a test.
                thread::spawn(move || drop(serve(stream, &*answer, &log, &ended)));
            }
        });
        Self { address, asked, over }
    }

    /// An address where nothing listens.
    pub fn nowhere() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("the port of a listener"))
    }

    /// All requests so far, in the order in which they came.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // The listener looks up when somebody comes.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}

fn serve(
    stream: TcpStream,
    answer: &(dyn Fn(&Asked) -> Does + Send + Sync),
    log: &Mutex<Vec<Asked>>,
    over: &AtomicBool,
) -> std::io::Result<()> {
    let Some(asked) = read(&stream)? else { return Ok(()) };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    let mut stream = stream;
    match answer(&asked) {
        Does::Says(status, headers, body) => {
            let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
            )
        }
        Does::Writes(bytes) => stream.write_all(bytes.as_bytes()),
        Does::Hangs => {
            while !over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        }
    }
}

/// A whole request, if one came.
fn read(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let first = lines.remove(0);
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(Asked { method, path, headers: lines, body }))
}
