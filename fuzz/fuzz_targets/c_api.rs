//! The C functions in any order: handles are created, used and freed; callbacks call the library; ids are stale; the server does
//! anything. The header's promises must hold: user data is dropped once, and an accepted call completes once.
//!
//!
//! An input is three bytes of options, the actions of the server (a block), and the steps of the application.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicPtr, AtomicU64, Ordering::SeqCst};
use wslink_fuzz::c::*;
use wslink_fuzz::input::Input;
use wslink_fuzz::server;

/// The data of callbacks for one input, used on any thread.
static SESSION: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static USERS: AtomicI64 = AtomicI64::new(0);
static ACCEPTED: AtomicU64 = AtomicU64::new(0);
static COMPLETED: AtomicU64 = AtomicU64::new(0);
static CALLS: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static SUBSCRIPTIONS: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static DOCUMENTS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// User data: the action of its callback. A second drop is a double free.
struct User {
    action: u8,
    _memory: Vec<u8>,
}

fn user(action: u8) -> *mut c_void {
    USERS.fetch_add(1, SeqCst);
    Box::into_raw(Box::new(User { action, _memory: vec![action; 100] })).cast()
}

extern "C" fn drop_user(user: *mut c_void) {
    USERS.fetch_sub(1, SeqCst);
    // SAFETY: `user` created it, and it is dropped once, which the sanitizer checks.
    drop(unsafe { Box::from_raw(user.cast::<User>()) });
}

/// The action of a callback, limited to what the header allows there.
fn act(user: *mut c_void, document: *const c_void) {
    // SAFETY: it is not dropped before its last call.
    let action = unsafe { &*user.cast::<User>() }.action;
    let session = SESSION.load(SeqCst);
    unsafe {
        match action % 16 {
            1 => ignore(call(session, 0, null_mut())),
            2 => ignore(wslink_session_cancel(session, any(&CALLS, action))),
            3 => ignore(wslink_session_unsubscribe(session, any(&SUBSCRIPTIONS, action), null_mut())),
            4 => subscribe(session, 0),
            5 if !document.is_null() => keep(wslink_document_ref(document)),
            6 => assert!(wslink_session_dispatch(session, 0, 0, null_mut()) < 0),
            7 => ignore(wslink_session_close(session, 1, null_mut())),
            8 => ignore(wslink_session_connect(session, null_mut())),
            // Otherwise other threads may be using it.
            9 if QUEUED.load(SeqCst) != 0 => free_session(),
            10 => ignore(wslink_session_state(session)),
            _ => {}
        }
        if !document.is_null() {
            assert!(wslink_value_kind(wslink_document_result(document)) >= 0);
        }
    }
}

static QUEUED: AtomicU64 = AtomicU64::new(0);

extern "C" fn completed(user: *mut c_void, reply: *const c_void, error: *const c_void) {
    assert!(reply.is_null() != error.is_null());
    COMPLETED.fetch_add(1, SeqCst);
    act(user, reply);
}

extern "C" fn published(user: *mut c_void, topic: wslink_str, message: *const c_void, error: *const c_void) {
    assert!(topic.len < 1000 && message.is_null() != error.is_null());
    act(user, message);
}

extern "C" fn changed(user: *mut c_void, change: *const wslink_state_change) {
    // SAFETY: borrowed during the callback.
    assert!((0..=6).contains(&unsafe { &*change }.state));
    act(user, null());
}

extern "C" fn progressed(user: *mut c_void, progress: *const wslink_progress) {
    // SAFETY: borrowed during the callback.
    let progress = unsafe { &*progress };
    assert!(progress.bytes <= progress.total);
    act(user, null());
}

extern "C" fn woken(user: *mut c_void) {
    // SAFETY: it is not dropped before its last call.
    assert_eq!(unsafe { &*user.cast::<User>() }._memory.len(), 100);
}

extern "C" fn logged(user: *mut c_void, _level: i32, _line: *const c_char) {
    woken(user);
}

extern "C" fn filtered(user: *mut c_void, reason: *const c_void, attempt: u32) -> bool {
    woken(user);
    assert!(!reason.is_null());
    attempt < 3
}

/// A valid id, or an invented one.
fn any(ids: &Mutex<Vec<u64>>, which: u8) -> u64 {
    let ids = ids.lock().unwrap();
    ids.get(usize::from(which) % (ids.len() + 1)).copied().unwrap_or(u64::from(which))
}

fn keep(document: *const c_void) {
    DOCUMENTS.lock().unwrap().push(document as usize);
}

fn free_session() {
    // SAFETY: no other thread has it any more.
    unsafe { wslink_session_free(SESSION.swap(null_mut(), SeqCst)) };
}

/// Whether it succeeds depends on the earlier steps.
fn ignore<T>(_code: T) {}

fn text(text: &str) -> wslink_str {
    wslink_str { ptr: text.as_ptr().cast(), len: text.len() }
}

unsafe fn call(session: *const c_void, action: u8, args: *mut c_void) -> i32 {
    let options = wslink_call_options { size: size_of::<wslink_call_options>(), timeout_ms: u32::from(action >> 4) };
    let mut id = 0;
    // Count first, because the call may complete before the function returns.
    ACCEPTED.fetch_add(1, SeqCst);
    let code = unsafe {
        let completion: wslink_completion_fn = if action == 255 { None } else { Some(completed) };
        let data = user(action);
        wslink_session_call(session, text("m"), args, &options, completion, data, Some(drop_user), &mut id, null_mut())
    };
    if code == WSLINK_OK {
        CALLS.lock().unwrap().push(id);
    } else {
        ACCEPTED.fetch_sub(1, SeqCst);
    }
    code
}

unsafe fn subscribe(session: *const c_void, action: u8) {
    let options = wslink_subscribe_options {
        size: size_of::<wslink_subscribe_options>(),
        policy: i32::from(action >> 6),
        capacity: u32::from(action >> 4 & 3),
    };
    let (mut id, data) = (0, user(action));
    let code = unsafe {
        let topic = text("topic");
        wslink_session_subscribe(session, topic, &options, Some(published), data, Some(drop_user), &mut id, null_mut())
    };
    if code == WSLINK_OK {
        SUBSCRIPTIONS.lock().unwrap().push(id);
    }
}

/// Calls one of the functions that add arguments.
unsafe fn add(args: *mut c_void, input: &mut Input<'_>, error: *mut *mut c_void) {
    let choice = input.byte();
    let words = input.text();
    let view = text(&words);
    let data: *const c_void = words.as_ptr().cast();
    let mut key = [0 as c_char; 32];
    let document = DOCUMENTS.lock().unwrap().last().map_or(null(), |d| *d as *const c_void);
    unsafe {
        let _ = match choice % 24 {
            0 => wslink_args_add_null(args, error),
            1 => wslink_args_add_bool(args, words.is_empty(), error),
            2 => wslink_args_add_int(args, -(words.len() as i64), error),
            3 => wslink_args_add_uint(args, u64::MAX - words.len() as u64, error),
            4 => wslink_args_add_double(args, words.len() as f64 / 3.0, error),
            5 | 6 => wslink_args_add_string(args, view, error),
            7 => wslink_args_add_bytes(args, data, words.len(), error),
            8 => {
                // Passed by reference: the user data owns it.
                let owner = user(choice);
                wslink_args_add_buffer(
                    args,
                    (*owner.cast::<User>())._memory.as_ptr().cast(),
                    100,
                    Some(drop_user),
                    owner,
                    error,
                )
            }
            9 => wslink_args_add_ext(args, choice as i8, data, words.len(), error),
            10 => wslink_args_add_doubles(args, [0.5, 1.5, f64::NAN].as_ptr(), words.len().min(3), error),
            11 => wslink_args_add_floats(args, [0.5, 1.5].as_ptr(), words.len().min(2), error),
            12 => wslink_args_add_int64s(args, [i64::MIN, 7].as_ptr(), words.len().min(2), error),
            13 => wslink_args_add_int32s(args, [i32::MIN, 7].as_ptr(), words.len().min(2), error),
            14 => wslink_args_add_value(args, wslink_document_root(document), error),
            15 | 16 => wslink_args_begin_array(args, error),
            17 => wslink_args_begin_map(args, error),
            18 | 19 => wslink_args_key(args, view, error),
            20 => wslink_args_end(args, error),
            21 => wslink_args_keyword(args, view, error),
            22 => {
                let owner = user(choice);
                let memory = (*owner.cast::<User>())._memory.as_ptr().cast();
                wslink_args_attach(args, memory, 100, Some(drop_user), owner, key.as_mut_ptr(), error)
            }
            _ => match words.len() % 3 {
                0 => wslink_args_add_json(args, view, error),
                1 => wslink_args_add_json_array(args, view, error),
                _ => wslink_args_add_json_keywords(args, view, error),
            },
        };
    }
}

/// Calls one of the functions that change a configuration.
unsafe fn configure(config: *mut c_void, input: &mut Input<'_>, error: *mut *mut c_void) {
    let (choice, value) = (input.byte(), input.byte());
    let number = u64::from(value);
    let words = CString::new(input.text().replace('\0', "0")).unwrap();
    let (chars, drop) = (words.as_ptr(), Some(drop_user as extern "C" fn(*mut c_void)));
    unsafe {
        let _ = match choice % 24 {
            0 => wslink_config_set_secret(config, chars, error),
            1 => wslink_config_add_hello_member(config, c"name".as_ptr(), chars, error),
            2 => wslink_config_set_protocol(config, i32::from(value % 4), error),
            3 => wslink_config_add_header(config, chars, c"value".as_ptr(), error),
            4 => wslink_config_set_connect_timeout(config, 1 + u32::from(value / 4), error),
            5 => wslink_config_set_heartbeat(config, u32::from(value), error),
            6 | 7 => {
                let options = wslink_reconnect_options {
                    size: size_of::<wslink_reconnect_options>(),
                    attempts: u32::from(value % 4),
                    first_delay_ms: 1,
                    longest_delay_ms: 2,
                    total_ms: 20,
                    at_first: i32::from(value & 1),
                };
                wslink_config_set_reconnect(config, &options, error)
            }
            8 => wslink_config_set_reconnect_filter(config, Some(filtered), user(0), drop, error),
            9 => wslink_config_set_max_message_size(config, number * 10, error),
            10 => wslink_config_set_max_unfinished(config, value.into(), number, error),
            11 => wslink_config_set_attachment_store(config, value.into(), number, error),
            12 => wslink_config_set_queue_bytes(config, number, error),
            13 => wslink_config_set_send_queue_bytes(config, number * 4, error),
            14 => wslink_config_set_buffer_pool_bytes(config, value.into(), error),
            15 => wslink_config_set_v1_upload_limit(config, number, error),
            16 => wslink_config_add_certificate_pin(config, chars, error),
            17 => wslink_config_add_ca_pem(config, chars, error),
            18 => wslink_config_set_delivery(config, i32::from(value % 3), error),
            19 => wslink_config_set_log(config, i32::from(value % 6), Some(logged), user(0), drop, error),
            20 => wslink_config_on_state(config, Some(changed), user(value), drop, error),
            21 => wslink_config_on_progress(config, Some(progressed), user(value), drop, error),
            22 => wslink_config_on_wakeup(config, Some(woken), user(0), drop, error),
            _ => wslink_config_on_state(config, None, user(value), drop, error),
        };
    }
}

unsafe fn look(session: *const c_void, which: u8, error: *mut *mut c_void) {
    let mut name = [1 as c_char; 8];
    let size = usize::from(which % 9);
    unsafe {
        let mut stats: wslink_stats = std::mem::zeroed();
        stats.size = if which & 64 != 0 { which.into() } else { size_of::<wslink_stats>() };
        wslink_session_state(session);
        wslink_session_failure(session, error);
        wslink_session_protocol(session);
        wslink_session_max_msg_size(session);
        wslink_session_client_id(session, name.as_mut_ptr(), size);
        wslink_session_peer_address(
            session,
            if which > 128 { null_mut() } else { name.as_mut_ptr() },
            if which > 128 { 0 } else { size },
        );
        if stats.size <= size_of::<wslink_stats>() {
            wslink_session_stats(session, &mut stats, null_mut());
        }
        let (mut delivered, mut dropped) = (0, 0);
        wslink_session_subscription_counts(
            session,
            any(&SUBSCRIPTIONS, which),
            &mut delivered,
            &mut dropped,
            null_mut(),
        );
        wslink_session_descriptor(session, null_mut());
    }
}

struct Application {
    config: *mut c_void,
    args: *mut c_void,
    queued: bool,
    url: CString,
}

impl Application {
    unsafe fn step(&mut self, input: &mut Input<'_>) {
        let mut error = null_mut();
        let (choice, value) = (input.byte(), input.byte());
        let session = SESSION.load(SeqCst);
        unsafe {
            match choice % 24 {
                0 | 1 if session.is_null() => {
                    // Last, so that the input cannot change the delivery that the callbacks rely on.
                    let way = if self.queued { WSLINK_DELIVERY_QUEUED } else { WSLINK_DELIVERY_IO_THREAD };
                    wslink_config_set_delivery(self.config, way, null_mut());
                    let mut made = null_mut();
                    if wslink_session_new(self.config, &mut made, &mut error) == WSLINK_OK {
                        SESSION.store(made, SeqCst);
                        CALLS.lock().unwrap().clear();
                        SUBSCRIPTIONS.lock().unwrap().clear();
                    }
                }
                0..=2 => ignore(wslink_session_connect(session, &mut error)),
                3 | 4 => ignore(wslink_session_connect_wait(session, &mut error)),
                5 => ignore(wslink_session_close(session, u32::from(value % 8), &mut error)),
                6 => ignore(wslink_session_close_wait(session, u32::from(value % 8), &mut error)),
                7 => free_session(),
                8 | 9 => ignore(call(session, value, if value & 1 == 0 { null_mut() } else { self.args })),
                10 => {
                    let options = wslink_call_options {
                        size: size_of::<wslink_call_options>(),
                        timeout_ms: 1 + u32::from(value % 16),
                    };
                    let mut reply = null();
                    if wslink_session_call_wait(session, text("m"), self.args, &options, &mut reply, &mut error)
                        == WSLINK_OK
                    {
                        keep(reply);
                    }
                }
                11 => ignore(wslink_session_cancel(session, any(&CALLS, value))),
                12 => subscribe(session, value),
                13 => ignore(wslink_session_unsubscribe(session, any(&SUBSCRIPTIONS, value), &mut error)),
                14 | 15 => {
                    ignore(wslink_session_dispatch(session, u32::from(value % 4), i32::from(value >> 6), &mut error))
                }
                16 => look(session, value, &mut error),
                17 | 18 => add(self.args, input, &mut error),
                19 if value & 1 == 0 => wslink_args_clear(self.args),
                19 => {
                    wslink_args_free(self.args);
                    self.args = if value & 2 == 0 { wslink_args_new() } else { null_mut() };
                }
                20 => configure(self.config, input, &mut error),
                21 => {
                    wslink_config_free(self.config);
                    self.config = null_mut();
                    if value & 1 == 0 {
                        let _ = wslink_config_new(self.url.as_ptr(), &mut self.config, &mut error);
                        // A timeout that a test can wait for.
                        ignore(wslink_config_set_connect_timeout(self.config, 40, null_mut()));
                    }
                }
                22 => {
                    let data = input.block();
                    let mut document = null();
                    let encoding = i32::from(value % 4);
                    if wslink_document_decode(data.as_ptr(), data.len(), encoding, &mut document, &mut error)
                        == WSLINK_OK
                    {
                        keep(document);
                    }
                }
                _ => {
                    let document = DOCUMENTS.lock().unwrap().pop();
                    wslink_document_unref(document.map_or(null(), |d| d as *const c_void));
                }
            }
            if !error.is_null() {
                assert!(wslink_error_code(error) < 0 && wslink_error_code(error) != WSLINK_ERR_PANIC);
                let clone = wslink_error_clone(error);
                wslink_error_free(error);
                assert!(!wslink_error_message(clone).is_null());
                wslink_error_free(clone);
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let options = input.byte();
    let (protocol, timeout) = (input.byte(), input.byte());
    let address = server::play(options & 1 != 0, input.block());
    let url = CString::new(format!("ws://{address}/ws")).unwrap();
    ACCEPTED.store(0, SeqCst);
    COMPLETED.store(0, SeqCst);
    QUEUED.store(u64::from(options & 2 == 0), SeqCst);
    let mut app = Application { config: null_mut(), args: null_mut(), queued: options & 2 == 0, url };
    unsafe {
        assert_eq!(wslink_config_new(app.url.as_ptr(), &mut app.config, null_mut()), WSLINK_OK);
        wslink_config_set_protocol(app.config, i32::from(protocol % 3), null_mut());
        wslink_config_set_connect_timeout(app.config, 20 + u32::from(timeout / 8), null_mut());
        app.args = wslink_args_new();
        let mut steps = 0;
        while !input.is_empty() && steps < 40 {
            app.step(&mut input);
            steps += 1;
        }
        free_session();
        wslink_config_free(app.config);
        wslink_args_free(app.args);
    }
    for document in DOCUMENTS.lock().unwrap().drain(..) {
        unsafe { wslink_document_unref(document as *const c_void) };
    }
    assert_eq!(COMPLETED.load(SeqCst), ACCEPTED.load(SeqCst), "one completion for each accepted call");
    assert_eq!(USERS.load(SeqCst), 0, "user data that was not dropped");
});
