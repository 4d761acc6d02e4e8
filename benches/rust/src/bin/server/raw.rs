//! The bytes of the workloads without frames and meaning. The first line chooses the workload:
//!
//!   echo CALL REPLY      a reply of REPLY bytes to each call of CALL bytes
//!   publish SIZE COUNT   COUNT messages of SIZE bytes, gathered like real ones
//!   list KIND COUNT      the size of a reply of protocol 2 (8 bytes); then the reply to each call

use std::io;

use wslink_bench::CALL;
use wslink_bench::messages::Protocol;

use crate::gather::Gather;
use crate::session::list;
use crate::socket::{Socket, blob};

fn refer(out: &mut Gather, size: usize) {
    let mut place = 0;
    while place < size {
        let piece = blob(place, size - place);
        out.refer(piece);
        place += piece.len();
    }
}

pub fn serve(mut socket: impl Socket) -> io::Result<()> {
    let mut input = vec![0; 512 << 10];
    let mut end = 0;
    let line = loop {
        match socket.read(&mut input[end..])? {
            0 => return Ok(()),
            count => end += count,
        }
        if let Some(line) = input[..end].iter().position(|&byte| byte == b'\n') {
            break line;
        }
    };
    let text = String::from_utf8_lossy(&input[..line]).to_string();
    let words: Vec<&str> = text.split(' ').collect();
    let number =
        |at: usize| words.get(at).and_then(|word| word.parse::<usize>().ok()).ok_or(io::ErrorKind::InvalidData);
    let mut pending = end - line - 1;
    let mut out = Gather::default();
    match words[0] {
        "publish" => {
            let (size, count) = (number(1)?, number(2)?);
            let gathered = if size < 1 << 10 { 128 << 10 } else { 1 << 20 };
            for _ in 0..count {
                if size < 1 << 10 {
                    out.put(blob(0, size));
                } else {
                    refer(&mut out, size);
                }
                if out.size() >= gathered {
                    out.flush(&mut socket)?;
                }
            }
            out.flush(&mut socket)?;
            // The client ends the connection.
            while socket.read(&mut input)? > 0 {}
            Ok(())
        }
        "list" => {
            let reply = list(Protocol::Msgpack, words[1], number(2)?);
            out.put(&reply.len().to_le_bytes());
            out.flush(&mut socket)?;
            answer(socket, input, &mut pending, CALL, |out| out.refer(reply))
        }
        _ => {
            let (call, reply) = (number(1)?, number(2)?);
            answer(socket, input, &mut pending, call, |out| out.put(blob(0, reply)))
        }
    }
}

fn answer(
    mut socket: impl Socket,
    mut input: Vec<u8>,
    pending: &mut usize,
    call: usize,
    reply: impl Fn(&mut Gather),
) -> io::Result<()> {
    let mut out = Gather::default();
    loop {
        while *pending >= call {
            *pending -= call;
            reply(&mut out);
        }
        out.flush(&mut socket)?;
        let missing = call - *pending;
        // The rest of a large call is in flight only after its beginning has arrived.
        if *pending > 0 && call > input.len() {
            socket.discard(missing)?;
            *pending += missing;
        } else {
            match socket.read(&mut input)? {
                0 => return Ok(()),
                count => *pending += count,
            }
        }
    }
}
