//! Sessions: connecting, calls, subscriptions, dispatching.

use super::args::wslink_args;
use super::callback::{UserData, wslink_drop_fn};
use super::codes::{
    WSLINK_NO_TIMEOUT, WSLINK_OK, WSLINK_POLICY_ALL, WSLINK_POLICY_LAST, WSLINK_PROTOCOL_AUTO, WSLINK_STATE_CLOSED,
};
use super::config::wslink_config;
use super::document::{self, as_handle, wslink_document};
use super::error::wslink_error;
use super::guard::{fallible, infallible};
use super::pointer::{self, wslink_str};
use crate::error::{Code, Error, Result};
use crate::io::delivery::queue::CompletionCallback;
use crate::io::delivery::subscription::Policy;
use crate::io::session::{Handle, Session};
use crate::platform::cancelling::Uncancelled;
use crate::session::core::closed_error;
use crate::wire::args::Args;
use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

/// A connection to one server, and its I/O thread. Any thread may use it, also inside callbacks.
pub struct wslink_session(Session);

/// Receives the outcome of a call, exactly once: `reply` (its value is `wslink_document_result(reply)`) or
/// `error`; the other is NULL. Both are borrowed for the callback; `wslink_document_ref` keeps `reply`.
/// Runs where callbacks run (`wslink_config_set_delivery`), never inside `wslink_session_call`; if the session is freed
/// before, inside `wslink_session_free`.
pub type wslink_completion_fn =
    Option<extern "C" fn(user: *mut c_void, reply: *const wslink_document, error: *const wslink_error)>;

/// Receives a publication: `message` (its value is `wslink_document_result(message)`), or `error`; the other is NULL.
/// The error is that of the server, which could not serialise the value (`WSLINK_ERR_REMOTE`), or says why the library
/// cannot decode the message. All are borrowed for the callback. Runs where callbacks run
/// (`wslink_config_set_delivery`).
pub type wslink_publication_fn = Option<
    extern "C" fn(user: *mut c_void, topic: wslink_str, message: *const wslink_document, error: *const wslink_error),
>;

/// Options of one call. Initialise with `WSLINK_CALL_OPTIONS_INIT`, so that members of later versions have their
/// defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_call_options {
    /// `sizeof(wslink_call_options)`.
    pub size: usize,
    /// How long to wait for the reply, in milliseconds. 0 (default): as set by `wslink_config_set_call_timeout`.
    /// `WSLINK_NO_TIMEOUT`: until the connection ends.
    pub timeout_ms: u32,
}

/// Options of one subscription. Initialise with `WSLINK_SUBSCRIBE_OPTIONS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_subscribe_options {
    /// `sizeof(wslink_subscribe_options)`.
    pub size: usize,
    /// The overflow policy, `WSLINK_POLICY_ALL` (default) or `WSLINK_POLICY_LAST`: what is dropped if publications
    /// arrive faster than they are dispatched.
    pub policy: i32,
    /// How many publications the queue may hold. 0: the default, 65536 for `WSLINK_POLICY_ALL` and 1 for
    /// `WSLINK_POLICY_LAST`.
    pub capacity: u32,
}

/// Counters of a session. Set `size` to `sizeof(wslink_stats)`, or initialise with `WSLINK_STATS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_stats {
    /// `sizeof(wslink_stats)`.
    pub size: usize,
    /// Replies received, and publications on topics with a subscription.
    pub messages_in: u64,
    /// Messages sent.
    pub messages_out: u64,
    /// Bytes received, including framing.
    pub bytes_in: u64,
    /// Bytes sent, including framing.
    pub bytes_out: u64,
    /// Publications on topics without a subscription, dropped undecoded.
    pub unsubscribed: u64,
    /// Malformed messages, including replies and publications whose content cannot be read.
    pub malformed: u64,
    /// Unfinished messages, and attachments to which no message had referred, that were dropped because of the limits.
    pub evicted: u64,
    /// Replies to calls that had timed out or were cancelled.
    pub late_replies: u64,
    /// Replies whose id belongs to no call.
    pub unknown_replies: u64,
    /// Calls that were accepted.
    pub calls: u64,
    /// Calls in flight: their reply has not arrived.
    pub calls_in_flight: u64,
    /// Events in the queue of `wslink_session_dispatch`.
    pub events_waiting: u64,
    /// Bytes of calls in the send queue. They wait if calls are made faster than the server or the network accepts
    /// them.
    pub bytes_waiting: u64,
}

/// A handle, which stays valid if another thread frees the session while the function runs.
fn handle(session: *const wslink_session) -> Result<Handle> {
    pointer::borrow(session, "session").map(|s| s.0.handle())
}

fn milliseconds(ms: u32) -> Option<Duration> {
    match ms {
        0 => None,
        WSLINK_NO_TIMEOUT => Some(Duration::MAX),
        ms => Some(Duration::from_millis(ms.into())),
    }
}

/// Creates a session that is not connected, and starts its I/O thread. The configuration is copied. On
/// success `*session` belongs to the caller, who frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_new(
    config: *const wslink_config,
    session: *mut *mut wslink_session,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::required(session, "session")?;
        let made = Session::new(pointer::borrow(config, "config")?.config.clone())?;
        pointer::store(session, pointer::give(wslink_session(made)), "session")?;
        Ok(WSLINK_OK)
    })
}

/// Frees a session at once, in any state, on any thread, also inside its callbacks. Calls in flight complete with
/// `WSLINK_ERR_CLOSED` before this function returns, and it waits for callbacks on other threads. NULL is ignored.
///
/// After it, no callback runs, and all user data was dropped, with two exceptions:
/// 1. The user data of a callback that calls this function is dropped when that callback returns.
/// 2. The user data of callbacks of the configuration is dropped when the configuration is freed, too.
///
/// While this function runs, another thread must not begin to use the session, except in the callbacks for which it
/// waits. A function that has already begun on another thread may go on: if it waits, it returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_free(session: *mut wslink_session) {
    let _uncancelled = Uncancelled::new();
    infallible((), || pointer::release(session));
}

/// Begins to connect and returns at once; the state callback reports the progress. Allowed when the session is
/// idle or closed, and while it waits to reconnect: then the next attempt begins at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_connect(session: *const wslink_session, err: *mut *mut wslink_error) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || handle(session)?.connect().map(|()| WSLINK_OK))
}

/// Connects and waits until the session is ready or has failed. The connect timeout of the configuration
/// applies to each attempt (there may be several if `wslink_reconnect_options.at_first` is set). Not on the I/O thread
/// (`WSLINK_ERR_REENTRANT`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_connect_wait(
    session: *const wslink_session,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || handle(session)?.connect_wait().map(|()| WSLINK_OK))
}

/// The current state: one of `WSLINK_STATE_...`; `WSLINK_STATE_CLOSED` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_state(session: *const wslink_session) -> i32 {
    let _uncancelled = Uncancelled::new();
    infallible(WSLINK_STATE_CLOSED, || handle(session).map_or(WSLINK_STATE_CLOSED, |s| s.state() as i32))
}

/// Why the session is closed, or, until it is ready again, why it reconnects: returns the code and sets `*err`, like a
/// function that fails. Otherwise, also if the application has closed the session, returns `WSLINK_OK`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_failure(session: *const wslink_session, err: *mut *mut wslink_error) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || handle(session)?.failure().map_or(Ok(WSLINK_OK), Err))
}

/// The detected protocol: `WSLINK_PROTOCOL_V1` or `_V2`; 0 before the session was ready for the first time. When a
/// connection ends, the value stays until the next one is ready.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_protocol(session: *const wslink_session) -> i32 {
    let _uncancelled = Uncancelled::new();
    infallible(WSLINK_PROTOCOL_AUTO, || {
        handle(session).ok().and_then(|s| s.peer().protocol).map_or(WSLINK_PROTOCOL_AUTO, |p| p as i32)
    })
}

/// The largest chunk size that a protocol 2 server announced (`maxMsgSize`), in bytes; 0 if it announced none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_max_msg_size(session: *const wslink_session) -> u64 {
    let _uncancelled = Uncancelled::new();
    infallible(0, || handle(session).ok().and_then(|s| s.peer().max_msg_size).unwrap_or(0))
}

/// Copies the client id that the server has assigned to `buffer`, as `snprintf` does: truncated to `size` and
/// NUL-terminated. Returns the length of the whole id. Empty before the session was ready for the first time. When a
/// connection ends, the id stays until the next one is ready.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_client_id(
    session: *const wslink_session,
    buffer: *mut c_char,
    size: usize,
) -> usize {
    let _uncancelled = Uncancelled::new();
    infallible(0, || handle(session).map_or(0, |s| pointer::copy_text(&s.peer().client_id, buffer, size)))
}

/// Copies the address of the server or proxy, such as "127.0.0.1:8080", to `buffer`, as `wslink_session_client_id`
/// does. It is that of the last connection, also after its end; empty before the first one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_peer_address(
    session: *const wslink_session,
    buffer: *mut c_char,
    size: usize,
) -> usize {
    let _uncancelled = Uncancelled::new();
    infallible(0, || {
        let address = handle(session).ok().and_then(|s| s.peer_addr()).map_or(String::new(), |a| a.to_string());
        pointer::copy_text(&address, buffer, size)
    })
}

/// Copies the counters of the session to `*stats`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_stats(
    session: *const wslink_session,
    stats: *mut wslink_stats,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::required(stats, "stats")?;
        let size = pointer::size_of_struct(stats.cast_const(), "stats")?;
        if size < size_of::<usize>() {
            return Err(Error::new(Code::Argument, "stats: size is not set"));
        }
        let now = handle(session)?.stats();
        let full = wslink_stats {
            size,
            messages_in: now.messages_in,
            messages_out: now.messages_out,
            bytes_in: now.bytes_in,
            bytes_out: now.bytes_out,
            unsubscribed: now.unsubscribed,
            malformed: now.malformed,
            evicted: now.evicted,
            late_replies: now.late_replies,
            unknown_replies: now.unknown_replies,
            calls: now.calls,
            calls_in_flight: now.calls_in_flight,
            events_waiting: now.events_waiting,
            bytes_waiting: now.bytes_waiting,
        };
        let n = size.min(size_of::<wslink_stats>());
        let from = pointer::slice((&raw const full).cast::<u8>(), n, "stats")?;
        pointer::slice_mut(stats.cast::<u8>(), n, "stats")?.copy_from_slice(from);
        Ok(WSLINK_OK)
    })
}

/// Begins to close: calls in flight complete with `WSLINK_ERR_CLOSED`, and the closing handshake begins. After
/// `timeout_ms` the connection ends without an answer of the server; 0 does not wait for it. Closing again can shorten
/// this time, not lengthen it. A session that is idle, connecting or waiting to reconnect is closed at once. A closed
/// session stays closed, and this function succeeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_close(
    session: *const wslink_session,
    timeout_ms: u32,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        handle(session)?.close(Duration::from_millis(timeout_ms.into()));
        Ok(WSLINK_OK)
    })
}

/// Closes as `wslink_session_close` does, and waits until the session is closed. Also returns `WSLINK_OK` if the server
/// has not answered within `timeout_ms`: the session is then closed without the answer. Not on the I/O thread
/// (`WSLINK_ERR_REENTRANT`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_close_wait(
    session: *const wslink_session,
    timeout_ms: u32,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || handle(session)?.close_wait(Duration::from_millis(timeout_ms.into())).map(|()| WSLINK_OK))
}

/// Runs `call` with the content of the arguments, and puts it back if the call fails. After success the handle must not
/// be used: a completion on another thread may have freed it.
fn with_args<R, E>(args: *mut wslink_args, call: impl FnOnce(&Args) -> Result<R, E>) -> Result<R, E> {
    let Ok(holder) = pointer::borrow_mut(args, "args") else {
        return call(&Args::new());
    };
    let content = holder.take();
    let done = call(&content);
    if done.is_err()
        && let Ok(holder) = pointer::borrow_mut(args, "args")
    {
        holder.put_back(content);
    }
    done
}

/// Calls a method of the server. `args` may be NULL for no arguments. On success its content is taken, on failure it is
/// unchanged. `options` may be NULL. The completion receives the outcome; `user` is dropped after it, or at once if
/// this function fails. `*call` is the id of the call, for `wslink_session_cancel`; `call` may be NULL. After a failure
/// `*call` has its former value or is 0. The call can end before this function returns, for example by a timeout while
/// long arguments are encoded: this function then succeeds, and the completion receives the failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_call(
    session: *const wslink_session,
    method: wslink_str,
    args: *mut wslink_args,
    options: *const wslink_call_options,
    completion: wslink_completion_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    call: *mut u64,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    let user = UserData::new(user, drop);
    fallible(err, || {
        let session = handle(session)?;
        let method = pointer::str(method, "method")?;
        let options = call_options(options)?;
        let completion = completion.ok_or_else(|| Error::new(Code::Null, "completion is NULL"))?;
        let completion: CompletionCallback = Box::new(move |outcome| match outcome {
            Ok(reply) => completion(user.pointer(), as_handle(&reply), std::ptr::null()),
            Err(error) => {
                let error = wslink_error::new(error);
                completion(user.pointer(), std::ptr::null(), &raw const error);
            }
        });
        // The completion may run before this function returns, and free the memory that contains `*call`: so the id is
        // written first. If the call is refused, `user` is dropped last.
        let timeout = milliseconds(options.timeout_ms);
        with_args(args, |args| {
            session.call_accepted(method, args, timeout, completion, |id: u64| pointer::store_opt(call, id))
        })
        .map_err(|(error, _user)| error)?;
        Ok(WSLINK_OK)
    })
}

fn call_options(given: *const wslink_call_options) -> Result<wslink_call_options> {
    let defaults = wslink_call_options { size: size_of::<wslink_call_options>(), timeout_ms: 0 };
    pointer::options(given, defaults)
}

/// Calls a method and waits for the outcome. `args` may be NULL for no arguments. On success its content is taken, on
/// failure it is unchanged. On success `*reply` belongs to the caller, who unrefs it. Not on
/// the I/O thread (`WSLINK_ERR_REENTRANT`); allowed inside callbacks of `wslink_session_dispatch`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_call_wait(
    session: *const wslink_session,
    method: wslink_str,
    args: *mut wslink_args,
    options: *const wslink_call_options,
    reply: *mut *const wslink_document,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        pointer::required(reply, "reply")?;
        let session = handle(session)?;
        let method = pointer::str(method, "method")?;
        let options = call_options(options)?;
        let outcome = with_args(args, |args| session.call_wait_with(method, args, milliseconds(options.timeout_ms)))?;
        pointer::store(reply, document::give(outcome), "reply")?;
        Ok(WSLINK_OK)
    })
}

/// Cancels a call: it completes with `WSLINK_ERR_CANCELLED`. False if the call has already ended, or the id is unknown.
/// If its message is still in the send queue, it is removed from the queue, and data that was added by reference is
/// released, perhaps inside this function. If a part of the message was sent, sending stops at the end of the chunk
/// (protocol 2) or of the message (protocol 1), and the data is released then. The server still executes a call that it
/// has received, because wslink has no message to cancel it. Calls that time out end in the same way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_cancel(session: *const wslink_session, call: u64) -> bool {
    let _uncancelled = Uncancelled::new();
    infallible(false, || handle(session).is_ok_and(|s| s.cancel(call)))
}

/// Subscribes to a topic, in any state. A subscription outlives the connection. Any topic is allowed, also the
/// empty one. If a topic has several subscriptions, each receives every publication. `options` may be NULL. On success
/// `*subscription` is the id for `wslink_session_unsubscribe`. `user` is dropped after the last callback, or
/// at once if this function fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_subscribe(
    session: *const wslink_session,
    topic: wslink_str,
    options: *const wslink_subscribe_options,
    callback: wslink_publication_fn,
    user: *mut c_void,
    drop: wslink_drop_fn,
    subscription: *mut u64,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    let user = UserData::new(user, drop);
    fallible(err, || {
        let session = handle(session)?;
        let topic = pointer::str(topic, "topic")?;
        let policy = policy(options)?;
        let callback = callback.ok_or_else(|| Error::new(Code::Null, "callback is NULL"))?;
        let id = session.subscribe(topic, policy, move |publication| {
            let topic = wslink_str::of(publication.topic.as_bytes());
            match publication.outcome {
                Ok(message) => callback(user.pointer(), topic, as_handle(message), std::ptr::null()),
                Err(error) => {
                    let error = wslink_error::new(error.clone());
                    callback(user.pointer(), topic, std::ptr::null(), &raw const error);
                }
            }
        });
        if id == 0 {
            return Err(closed_error());
        }
        pointer::store_opt(subscription, id);
        Ok(WSLINK_OK)
    })
}

fn policy(given: *const wslink_subscribe_options) -> Result<Policy> {
    let defaults = wslink_subscribe_options {
        size: size_of::<wslink_subscribe_options>(),
        policy: WSLINK_POLICY_ALL,
        capacity: 0,
    };
    let options = pointer::options(given, defaults)?;
    match (options.policy, options.capacity as usize) {
        (WSLINK_POLICY_ALL, 0) => Ok(Policy::default()),
        (WSLINK_POLICY_ALL, n) => Ok(Policy::All(n)),
        (WSLINK_POLICY_LAST, n) => Ok(Policy::Last(n.max(1))),
        (other, _) => {
            Err(Error::new(Code::Argument, format!("{other} is not a policy; use WSLINK_POLICY_ALL or _LAST")))
        }
    }
}

/// Ends a subscription. After this function has returned, no callback of the subscription begins, and none is running
/// on another thread. Allowed inside its callback; then `user` is dropped when the callback returns.
/// `WSLINK_ERR_NOT_FOUND` if there is no subscription with this id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_unsubscribe(
    session: *const wslink_session,
    subscription: u64,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || handle(session)?.unsubscribe(subscription).map(|()| WSLINK_OK))
}

/// How many publications were delivered to the callback of a subscription, and how many were dropped because the queue
/// was full. Either out-parameter may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_subscription_counts(
    session: *const wslink_session,
    subscription: u64,
    delivered: *mut u64,
    dropped: *mut u64,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        let counts = handle(session)?.subscription_counts(subscription)?;
        pointer::store_opt(delivered, counts.0);
        pointer::store_opt(dropped, counts.1);
        Ok(WSLINK_OK)
    })
}

/// Runs the callbacks of queued events on this thread, at most `max_events` (0: all that are in the queue). If the
/// queue is empty, waits up to `timeout_ms` for the first event (0: does not wait, negative: waits without a limit).
/// Returns the number of events, including changes of state for which no callback is set, or a negative code:
/// `WSLINK_ERR_REENTRANT` inside such a callback, `WSLINK_ERR_STATE` if callbacks run on the I/O thread,
/// `WSLINK_ERR_CLOSED` if the session was freed meanwhile, perhaps by one of these callbacks; then it must not be used
/// again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_dispatch(
    session: *const wslink_session,
    max_events: u32,
    timeout_ms: i32,
    err: *mut *mut wslink_error,
) -> i32 {
    let _uncancelled = Uncancelled::new();
    fallible(err, || {
        let most = if max_events == 0 { i32::MAX as usize } else { max_events.min(i32::MAX as u32) as usize };
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        let count = handle(session)?.dispatch(most, timeout)?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    })
}

/// A file descriptor that is readable while the queue of `wslink_session_dispatch` is not empty, for `poll`, `epoll`,
/// `QSocketNotifier` and the like. It belongs to the session: do not read from it and do not close it. Returns -1 and
/// sets `*err` on platforms without descriptors; use `wslink_config_on_wakeup` there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wslink_session_descriptor(
    session: *const wslink_session,
    err: *mut *mut wslink_error,
) -> c_int {
    let _uncancelled = Uncancelled::new();
    let mut descriptor = -1;
    fallible(err, || {
        descriptor = handle(session)?.with_descriptor(raw)??;
        Ok(WSLINK_OK)
    });
    descriptor
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)]
fn raw(pipe: &std::io::PipeReader) -> Result<c_int> {
    use std::os::fd::AsRawFd;
    Ok(pipe.as_raw_fd())
}

#[cfg(not(unix))]
fn raw(_pipe: &std::io::PipeReader) -> Result<c_int> {
    Err(Error::new(Code::Unsupported, "no descriptor on this platform; use the wakeup function"))
}
