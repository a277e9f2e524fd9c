//! For tests only: an SMTP server (RFC 5321) that takes letters, or refuses them as a test wants.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
};

/// A letter that was accepted.
#[derive(Debug, Clone, Default)]
pub struct Letter {
    /// The sender of MAIL.
    pub from: String,
    /// The recipient of RCPT.
    pub to: String,
    /// Headers and bodies, as they were transmitted.
    pub content: String,
}

/// The letters of a server, and how it behaves. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct SmtpServer(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    letters: Vec<Letter>,
    commands: Vec<String>,
    /// Replies in place of those that accept, by command. `CONTENT` is the end of a letter; an empty reply closes the
    /// connection.
    replies: HashMap<&'static str, &'static str>,
    offers_starttls: bool,
}

impl SmtpServer {
    /// Listens without encryption at a port of its own, which it returns.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn listen(&self) -> io::Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        Ok(port)
    }

    /// Serves a connection from its first byte, as `converse`.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) -> io::Result<Option<S>> {
        stream.write_all(b"220 mail.test ESMTP\r\n").await?;
        self.converse(stream).await
    }

    /// Serves a connection until it ends (`None`), or its client begins TLS on the stream that is returned.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<Option<S>> {
        let mut stream = BufReader::new(stream);
        let mut letter = Letter::default();
        while let Some(line) = read_line(&mut stream).await? {
            let command = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            let reply = self.reply(&command, &line);
            stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
            match command.as_str() {
                "MAIL" => letter.from = address,
                "RCPT" => letter.to = address,
                "STARTTLS" if reply.starts_with('2') => return Ok(Some(stream.into_inner())),
                "DATA" if reply.starts_with('3') => {
                    letter.content = read_content(&mut stream).await?;
                    let reply = self.take(&letter);
                    if reply.is_empty() {
                        return Ok(None);
                    }
                    stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
                }
                "QUIT" => return Ok(None),
                _ => {}
            }
        }
        Ok(None)
    }

    fn reply(&self, command: &str, line: &str) -> String {
        let mut state = self.state();
        state.commands.push(line.to_owned());
        if let Some(reply) = state.replies.get(command) {
            return (*reply).to_owned();
        }
        let starttls = if state.offers_starttls { "250-STARTTLS\r\n" } else { "" };
        match command {
            "EHLO" => format!("250-mail.test\r\n{starttls}250 AUTH PLAIN"),
            "STARTTLS" | "QUIT" => "220 2.0.0 go on".to_owned(),
            "AUTH" => "235 2.7.0 accepted".to_owned(),
            "MAIL" | "RCPT" => "250 2.1.0 ok".to_owned(),
            "DATA" => "354 go on".to_owned(),
            _ => "502 5.5.1 unknown command".to_owned(),
        }
    }

    /// The reply to a letter, which is kept unless it is refused.
    fn take(&self, letter: &Letter) -> String {
        let mut state = self.state();
        let reply = state.replies.get("CONTENT").copied().unwrap_or("250 2.0.0 queued as 1");
        if !reply.starts_with(['4', '5']) {
            state.letters.push(letter.clone());
        }
        reply.to_owned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The letters that were accepted.
    pub fn letters(&self) -> Vec<Letter> {
        self.state().letters.clone()
    }

    /// Replies so to a command from now on, or to `CONTENT`, the end of a letter. An empty reply to that closes the
    /// connection.
    pub fn replies(&self, command: &'static str, reply: &'static str) {
        self.state().replies.insert(command, reply);
    }

    /// Forgets all replies that refuse.
    pub fn accepts_everything(&self) {
        self.state().replies.clear();
    }

    /// Offers STARTTLS from now on, also on connections that have begun TLS.
    pub fn offers_starttls(&self) {
        self.state().offers_starttls = true;
    }

    /// The lines that clients have sent, without the letters.
    pub fn commands(&self) -> Vec<String> {
        self.state().commands.clone()
    }
}

async fn read_line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Option<String>> {
    let mut line = String::new();
    let length = stream.read_line(&mut line).await?;
    Ok((length > 0).then(|| line.trim_end().to_owned()))
}

/// The lines up to the one that is a dot.
async fn read_content<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<String> {
    let mut content = String::new();
    while let Some(line) = read_line(stream).await? {
        if line == "." {
            return Ok(content);
        }
        content += &line;
        content.push('\n');
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
