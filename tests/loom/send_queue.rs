//! The hand-over of the socket between writers: any thread queues messages, one at a time writes, and no message is left unsent.

use loom::thread;
use std::sync::Arc;
use wslink_loom::model;
use wslink_loom::poll::Poll;
use wslink_loom::send_queue::{Report, SendQueue};
use wslink_loom::socket::Socket;
use wslink_loom::sync::Mutex;
use wslink_loom::wake::WakeFlag;
use wslink_loom::websocket::writer::{ControlFrame, Message, Queued, Writer};

const MOST: usize = 1000;

fn message(byte: u8, size: usize) -> Queued {
    (Message(vec![byte; size]), None)
}

/// A send queue over a socket with room for `room` bytes.
fn link(room: usize) -> (Arc<SendQueue>, Arc<Socket>) {
    let (link, socket) = (SendQueue::default(), Arc::new(Socket::new(room)));
    assert!(link.attach(Arc::clone(&socket), Writer::new()).is_empty());
    (Arc::new(link), socket)
}

fn done(report: &Report) -> usize {
    report.messages as usize
}

#[test]
fn messages_of_several_threads_are_written_once_and_in_order() {
    model(3, || {
        let (link, socket) = link(MOST);
        let other = {
            let link = Arc::clone(&link);
            thread::spawn(move || {
                link.push(message(1, 1));
                done(&link.flush(MOST))
            })
        };
        link.push(message(2, 1));
        let mut reported = done(&link.flush(MOST));
        link.push(message(3, 1));
        reported += done(&link.flush(MOST));
        reported += other.join().unwrap();
        let mut written = socket.unread();
        let own: Vec<_> = written.iter().copied().filter(|byte| *byte != 1).collect();
        assert_eq!(own, [2, 3]);
        written.sort_unstable();
        assert_eq!((written, reported, link.backlog()), (vec![1, 2, 3], 3, 0));
    });
}

#[test]
fn a_control_frame_is_not_left_behind() {
    model(3, || {
        let (link, socket) = link(MOST);
        let other = {
            let link = Arc::clone(&link);
            thread::spawn(move || {
                link.push_control(ControlFrame(9));
                link.flush(MOST);
            })
        };
        link.push(message(1, 1));
        link.flush(MOST);
        other.join().unwrap();
        assert_eq!(socket.unread().len(), 2);
    });
}

/// As `Shared::wrote`: what a thread of the application does after a flush.
fn tell(report: &Report, flag: &WakeFlag, poll: &Poll) {
    if report.more || report.failed || report.blocked {
        flag.raise(|| poll.wake()).unwrap();
    }
}

/// A connection in use: callers, the I/O thread, and a peer that reads until it has everything. If a message is left unsent while all
/// threads sleep, loom reports a deadlock.
fn everything_arrives(callers: u8, size: usize, room: usize, most: usize, preemptions: usize) {
    model(preemptions, move || {
        let (link, socket) = link(room);
        let (flag, poll) = (Arc::new(WakeFlag::default()), Arc::new(Poll::new()));
        let over = Arc::new(Mutex::new(false));
        let io = {
            let (link, flag, poll) = (Arc::clone(&link), Arc::clone(&flag), Arc::clone(&poll));
            let over = Arc::clone(&over);
            thread::spawn(move || {
                while !*over.lock() {
                    let report = link.flush(most);
                    if !report.more && !report.failed && poll.sleep().woken {
                        flag.lower();
                    }
                }
            })
        };
        let callers = (1..=callers).map(|caller| {
            let (link, flag, poll) = (Arc::clone(&link), Arc::clone(&flag), Arc::clone(&poll));
            thread::spawn(move || {
                link.push(message(caller, size));
                tell(&link.flush(most), &flag, &poll);
            })
        });
        let callers: Vec<_> = callers.collect();
        let mut arrived = 0;
        while arrived < callers.len() * size {
            let (bytes, writable) = socket.read();
            arrived += bytes.len();
            if writable {
                poll.writable();
            }
        }
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        *over.lock() = true;
        flag.raise(|| poll.wake()).unwrap();
        io.join().unwrap();
        assert_eq!(link.backlog(), 0);
    });
}

#[test]
fn everything_arrives_through_a_socket_that_is_full_at_times() {
    everything_arrives(1, 2, 1, MOST, 3);
    everything_arrives(2, 1, 1, MOST, 2);
}

#[test]
fn everything_arrives_if_nobody_writes_all_at_once() {
    everything_arrives(2, 2, MOST, 1, 2);
}

#[test]
fn the_io_thread_hears_of_every_failure() {
    model(2, || {
        let link = Arc::new(SendQueue::default());
        drop(link.attach(Arc::new(Socket::broken()), Writer::new()));
        let (flag, poll) = (Arc::new(WakeFlag::default()), Arc::new(Poll::new()));
        let callers = [1, 2].map(|caller| {
            let (link, flag, poll) = (Arc::clone(&link), Arc::clone(&flag), Arc::clone(&poll));
            thread::spawn(move || {
                link.push(message(caller, 1));
                tell(&link.flush(MOST), &flag, &poll);
            })
        });
        loop {
            let report = link.flush(MOST);
            if link.take_failure().is_some() {
                break;
            }
            if !report.more && !report.failed {
                poll.sleep();
                flag.lower();
            }
        }
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

#[test]
fn a_failure_is_told_although_more_was_written_since() {
    model(2, || {
        let link = Arc::new(SendQueue::default());
        drop(link.attach(Arc::new(Socket::new(MOST).failing(1)), Writer::new()));
        let other = {
            let link = Arc::clone(&link);
            thread::spawn(move || {
                link.push(message(1, 1));
                link.flush(MOST);
            })
        };
        link.push(message(2, 1));
        link.flush(MOST);
        other.join().unwrap();
        assert!(link.take_failure().is_some());
    });
}

#[test]
fn whoever_asks_for_a_failure_keeps_nobody_from_writing() {
    model(3, || {
        let (link, socket) = link(MOST);
        let io = {
            let link = Arc::clone(&link);
            thread::spawn(move || {
                link.flush(MOST);
                assert!(link.take_failure().is_none());
            })
        };
        link.push(message(1, 1));
        link.flush(MOST);
        io.join().unwrap();
        assert_eq!(socket.unread(), [1]);
    });
}

#[test]
fn the_last_flush_writes_what_another_thread_has_begun() {
    model(3, || {
        let (link, socket) = link(MOST);
        link.push(message(1, 2));
        let caller = {
            let link = Arc::clone(&link);
            thread::spawn(move || link.flush(MOST))
        };
        link.push_control(ControlFrame(9));
        link.flush_last(MOST);
        assert_eq!(socket.unread(), [1, 1, 9]);
        link.detach();
        caller.join().unwrap();
    });
}

#[test]
fn a_message_that_is_withdrawn_is_written_or_given_back() {
    // With a socket that takes everything, and with one that takes nothing.
    for room in [MOST, 0] {
        model(3, move || {
            let (link, socket) = link(room);
            link.push((Message(vec![1; 2]), Some(1)));
            link.push((Message(vec![2; 2]), Some(2)));
            let other = {
                let link = Arc::clone(&link);
                thread::spawn(move || {
                    let mut report = link.flush(MOST);
                    report.withdrawn.len() + report.done.drain(..).filter(|(_, call)| *call == Some(2)).count()
                })
            };
            let mut back = link.withdraw(&[2]).len();
            let mut report = link.flush(MOST);
            back += report.withdrawn.len() + report.done.drain(..).filter(|(_, call)| *call == Some(2)).count();
            back += other.join().unwrap();
            assert_eq!(back, 1);
            let others = socket.unread().into_iter().filter(|byte| *byte == 1).count();
            assert_eq!((others, link.backlog()), if room == 0 { (0, 2) } else { (2, 0) });
        });
    }
}

#[test]
fn a_flush_that_ends_after_its_connection_does_not_count_for_the_next_one() {
    model(3, || {
        let (link, socket) = link(MOST);
        link.push(message(1, 5));
        let caller = {
            let link = Arc::clone(&link);
            // If it runs late, any of the messages.
            thread::spawn(move || drop(link.flush(MOST)))
        };
        // The next socket takes nothing.
        let unsent = link.attach(Arc::new(Socket::new(0)), Writer::new());
        assert_eq!(socket.unread().len() + unsent.len() * 5, 5, "written or given back");
        link.push(message(2, 5));
        link.push(message(3, 7));
        caller.join().unwrap();
        assert_eq!(link.backlog(), 12);
    });
}
