//! The functions of wslink.h as C sees them. Written by declare.py; do not edit.
#![allow(non_camel_case_types)]

use std::ffi::{c_char, c_int, c_void};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_value {
    pub document: *const c_void,
    pub place: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_bytes {
    pub ptr: *const u8,
    pub len: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_str {
    pub ptr: *const c_char,
    pub len: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_iter {
    pub next: wslink_value,
    pub left: u32,
    pub map: bool,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_reconnect_options {
    pub size: usize,
    pub attempts: u32,
    pub first_delay_ms: u32,
    pub longest_delay_ms: u32,
    pub total_ms: u32,
    pub at_first: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_state_change {
    pub state: i32,
    pub attempt: u32,
    pub delay_ms: u64,
    pub reason: *const c_void,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_progress {
    pub incoming: bool,
    pub transfer: u64,
    pub call: u64,
    pub bytes: u64,
    pub total: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_listener_options {
    pub size: usize,
    pub address: *const c_char,
    pub host: *const c_char,
    pub port: u16,
    pub certificate_pem: *const c_char,
    pub key_pem: *const c_char,
    pub pkcs12: wslink_bytes,
    pub pkcs12_password: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_stats {
    pub size: usize,
    pub messages_in: u64,
    pub messages_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub unsubscribed: u64,
    pub malformed: u64,
    pub evicted: u64,
    pub late_replies: u64,
    pub unknown_replies: u64,
    pub calls: u64,
    pub calls_in_flight: u64,
    pub events_waiting: u64,
    pub bytes_waiting: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_call_options {
    pub size: usize,
    pub timeout_ms: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct wslink_subscribe_options {
    pub size: usize,
    pub policy: i32,
    pub capacity: u32,
}

pub type wslink_drop_fn = Option<extern "C" fn(user: *mut c_void)>;
pub type wslink_reconnect_filter_fn = Option<extern "C" fn(user: *mut c_void, reason: *const c_void, attempt: u32) -> bool>;
pub type wslink_attempt_fn = Option<extern "C" fn(user: *mut c_void, attempt: *mut c_void, number: u32, reason: *const c_void) -> bool>;
pub type wslink_log_fn = Option<extern "C" fn(user: *mut c_void, level: i32, line: *const c_char)>;
pub type wslink_state_fn = Option<extern "C" fn(user: *mut c_void, change: *const wslink_state_change)>;
pub type wslink_progress_fn = Option<extern "C" fn(user: *mut c_void, progress: *const wslink_progress)>;
pub type wslink_wakeup_fn = Option<extern "C" fn(user: *mut c_void)>;
pub type wslink_line_fn = Option<extern "C" fn(user: *mut c_void, line: *const c_char, on_error: bool)>;
pub type wslink_launch_progress_fn = Option<extern "C" fn(user: *mut c_void, attempt: u32, reason: *const c_void)>;
pub type wslink_completion_fn = Option<extern "C" fn(user: *mut c_void, reply: *const c_void, error: *const c_void)>;
pub type wslink_publication_fn = Option<extern "C" fn(user: *mut c_void, topic: wslink_str, message: *const c_void, error: *const c_void)>;

pub const WSLINK_VERSION_MAJOR: i32 = 0;
pub const WSLINK_VERSION_MINOR: i32 = 1;
pub const WSLINK_VERSION_PATCH: i32 = 0;
pub const WSLINK_VERSION_NUMBER: i32 = 1000;
pub const WSLINK_TYPE_INT8: i32 = 1;
pub const WSLINK_TYPE_UINT8: i32 = 2;
pub const WSLINK_TYPE_INT16: i32 = 3;
pub const WSLINK_TYPE_UINT16: i32 = 4;
pub const WSLINK_TYPE_INT32: i32 = 5;
pub const WSLINK_TYPE_UINT32: i32 = 6;
pub const WSLINK_TYPE_INT64: i32 = 7;
pub const WSLINK_TYPE_UINT64: i32 = 8;
pub const WSLINK_TYPE_FLOAT32: i32 = 9;
pub const WSLINK_TYPE_FLOAT64: i32 = 10;
pub const WSLINK_OK: i32 = 0;
pub const WSLINK_ERR_ARGUMENT: i32 = -100;
pub const WSLINK_ERR_NULL: i32 = -101;
pub const WSLINK_ERR_UTF8: i32 = -102;
pub const WSLINK_ERR_JSON: i32 = -103;
pub const WSLINK_ERR_STATE: i32 = -104;
pub const WSLINK_ERR_REENTRANT: i32 = -105;
pub const WSLINK_ERR_CLOSED: i32 = -106;
pub const WSLINK_ERR_ATTACHMENT: i32 = -107;
pub const WSLINK_ERR_UNSUPPORTED: i32 = -108;
pub const WSLINK_ERR_VERSION: i32 = -109;
pub const WSLINK_ERR_PANIC: i32 = -110;
pub const WSLINK_ERR_NOT_FOUND: i32 = -111;
pub const WSLINK_ERR_KIND: i32 = -112;
pub const WSLINK_ERR_SYSTEM: i32 = -113;
pub const WSLINK_ERR_RESOLVE: i32 = -200;
pub const WSLINK_ERR_CONNECT: i32 = -201;
pub const WSLINK_ERR_PROXY: i32 = -202;
pub const WSLINK_ERR_TLS: i32 = -203;
pub const WSLINK_ERR_UPGRADE: i32 = -204;
pub const WSLINK_ERR_HELLO: i32 = -205;
pub const WSLINK_ERR_AUTH: i32 = -206;
pub const WSLINK_ERR_MISMATCH: i32 = -207;
pub const WSLINK_ERR_LAUNCHER: i32 = -208;
pub const WSLINK_ERR_CONNECTION_LOST: i32 = -300;
pub const WSLINK_ERR_TIMEOUT: i32 = -301;
pub const WSLINK_ERR_CANCELLED: i32 = -302;
pub const WSLINK_ERR_PROTOCOL: i32 = -303;
pub const WSLINK_ERR_LIMIT: i32 = -304;
pub const WSLINK_ERR_REMOTE: i32 = -400;
pub const WSLINK_STAGE_LOCAL: i32 = 0;
pub const WSLINK_STAGE_RESOLVE: i32 = 1;
pub const WSLINK_STAGE_CONNECT: i32 = 2;
pub const WSLINK_STAGE_PROXY: i32 = 3;
pub const WSLINK_STAGE_TLS: i32 = 4;
pub const WSLINK_STAGE_UPGRADE: i32 = 5;
pub const WSLINK_STAGE_HELLO: i32 = 6;
pub const WSLINK_STAGE_SESSION: i32 = 7;
pub const WSLINK_STAGE_CALL: i32 = 8;
pub const WSLINK_STAGE_LAUNCHER: i32 = 9;
pub const WSLINK_STATE_IDLE: i32 = 0;
pub const WSLINK_STATE_CONNECTING: i32 = 1;
pub const WSLINK_STATE_READY: i32 = 2;
pub const WSLINK_STATE_LOST: i32 = 3;
pub const WSLINK_STATE_RECONNECTING: i32 = 4;
pub const WSLINK_STATE_CLOSING: i32 = 5;
pub const WSLINK_STATE_CLOSED: i32 = 6;
pub const WSLINK_KIND_NULL: i32 = 0;
pub const WSLINK_KIND_BOOL: i32 = 1;
pub const WSLINK_KIND_INT: i32 = 2;
pub const WSLINK_KIND_UINT: i32 = 3;
pub const WSLINK_KIND_FLOAT: i32 = 4;
pub const WSLINK_KIND_STRING: i32 = 5;
pub const WSLINK_KIND_BYTES: i32 = 6;
pub const WSLINK_KIND_ARRAY: i32 = 7;
pub const WSLINK_KIND_MAP: i32 = 8;
pub const WSLINK_KIND_EXT: i32 = 9;
pub const WSLINK_KIND_BIGINT: i32 = 10;
pub const WSLINK_PROTOCOL_AUTO: i32 = 0;
pub const WSLINK_PROTOCOL_V1: i32 = 1;
pub const WSLINK_PROTOCOL_V2: i32 = 2;
pub const WSLINK_DELIVERY_QUEUED: i32 = 0;
pub const WSLINK_DELIVERY_IO_THREAD: i32 = 1;
pub const WSLINK_REACH_REVERSE: i32 = 0;
pub const WSLINK_REACH_PRINTED_PORT: i32 = 1;
pub const WSLINK_REACH_CHOSEN_PORT: i32 = 2;
pub const WSLINK_LOG_ERROR: i32 = 1;
pub const WSLINK_LOG_WARNING: i32 = 2;
pub const WSLINK_LOG_INFO: i32 = 3;
pub const WSLINK_LOG_DEBUG: i32 = 4;
pub const WSLINK_POLICY_ALL: i32 = 0;
pub const WSLINK_POLICY_LAST: i32 = 1;
pub const WSLINK_JSON_PLAIN: i32 = 0;
pub const WSLINK_JSON_TAGGED: i32 = 1;
pub const WSLINK_ENCODING_JSON: i32 = 1;
pub const WSLINK_ENCODING_MSGPACK: i32 = 2;
pub const WSLINK_ATTACHMENT_KEY_SIZE: i32 = 32;

unsafe extern "C" {
    pub fn wslink_version() -> u32;
    pub fn wslink_version_text() -> *const c_char;
    pub fn wslink_check_version(header_version: u32) -> i32;
    pub fn wslink_has(capability: *const c_char) -> bool;
    pub fn wslink_code_text(code: i32) -> *const c_char;
    pub fn wslink_stage_text(stage: i32) -> *const c_char;
    pub fn wslink_state_text(state: i32) -> *const c_char;
    pub fn wslink_kind_text(kind: i32) -> *const c_char;
    pub fn wslink_error_code(error: *const c_void) -> i32;
    pub fn wslink_error_stage(error: *const c_void) -> i32;
    pub fn wslink_error_message(error: *const c_void) -> *const c_char;
    pub fn wslink_error_http_status(error: *const c_void) -> i32;
    pub fn wslink_error_is_retriable(error: *const c_void) -> bool;
    pub fn wslink_error_remote_code(error: *const c_void, code: *mut i64) -> bool;
    pub fn wslink_error_remote_message(error: *const c_void) -> *const c_char;
    pub fn wslink_error_remote_data(error: *const c_void, data: *mut wslink_value) -> bool;
    pub fn wslink_error_remote_value(error: *const c_void, value: *mut wslink_value) -> bool;
    pub fn wslink_error_clone(error: *const c_void) -> *mut c_void;
    pub fn wslink_error_free(error: *mut c_void);
    pub fn wslink_buffer_ref(buffer: *const c_void) -> *const c_void;
    pub fn wslink_buffer_unref(buffer: *const c_void);
    pub fn wslink_buffer_data(buffer: *const c_void) -> *const u8;
    pub fn wslink_buffer_size(buffer: *const c_void) -> usize;
    pub fn wslink_bytes_as_array(data: wslink_bytes, element: i32, array: *mut *const c_void, count: *mut usize, copy: *mut *const c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_document_ref(document: *const c_void) -> *const c_void;
    pub fn wslink_document_unref(document: *const c_void);
    pub fn wslink_document_decode(data: *const u8, size: usize, encoding: i32, document: *mut *const c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_document_result(document: *const c_void) -> wslink_value;
    pub fn wslink_document_root(document: *const c_void) -> wslink_value;
    pub fn wslink_document_wire_size(document: *const c_void) -> usize;
    pub fn wslink_value_to_json(value: wslink_value, style: i32, json: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_json_text(json: *const c_void) -> wslink_str;
    pub fn wslink_json_attachment_count(json: *const c_void) -> usize;
    pub fn wslink_json_attachment(json: *const c_void, index: usize, key: *mut wslink_str, data: *mut wslink_bytes) -> bool;
    pub fn wslink_json_attachment_buffer(json: *const c_void, index: usize) -> *const c_void;
    pub fn wslink_json_free(json: *mut c_void);
    pub fn wslink_value_kind(value: wslink_value) -> i32;
    pub fn wslink_value_is_null(value: wslink_value) -> bool;
    pub fn wslink_value_get_bool(value: wslink_value, out: *mut bool) -> bool;
    pub fn wslink_value_get_int(value: wslink_value, out: *mut i64) -> bool;
    pub fn wslink_value_get_uint(value: wslink_value, out: *mut u64) -> bool;
    pub fn wslink_value_get_double(value: wslink_value, out: *mut f64) -> bool;
    pub fn wslink_value_get_string(value: wslink_value, out: *mut wslink_str) -> bool;
    pub fn wslink_value_get_bytes(value: wslink_value, out: *mut wslink_bytes) -> bool;
    pub fn wslink_value_get_buffer(value: wslink_value, out: *mut *const c_void) -> bool;
    pub fn wslink_value_get_ext(value: wslink_value, ext_type: *mut i8, data: *mut wslink_bytes) -> bool;
    pub fn wslink_value_get_bigint(value: wslink_value, out: *mut wslink_str) -> bool;
    pub fn wslink_value_size(value: wslink_value) -> usize;
    pub fn wslink_value_at(value: wslink_value, index: usize, out: *mut wslink_value) -> bool;
    pub fn wslink_value_find(value: wslink_value, key: wslink_str, out: *mut wslink_value) -> bool;
    pub fn wslink_value_iter(value: wslink_value) -> wslink_iter;
    pub fn wslink_iter_next(iter: *mut wslink_iter, key: *mut wslink_value, value: *mut wslink_value) -> bool;
    pub fn wslink_iter_next_strings(iter: *mut wslink_iter, out: *mut wslink_str, capacity: usize) -> usize;
    pub fn wslink_value_copy_doubles(value: wslink_value, out: *mut f64, capacity: usize, count: *mut usize) -> bool;
    pub fn wslink_value_copy_floats(value: wslink_value, out: *mut f32, capacity: usize, count: *mut usize) -> bool;
    pub fn wslink_value_copy_int64s(value: wslink_value, out: *mut i64, capacity: usize, count: *mut usize) -> bool;
    pub fn wslink_value_copy_uint64s(value: wslink_value, out: *mut u64, capacity: usize, count: *mut usize) -> bool;
    pub fn wslink_value_copy_int32s(value: wslink_value, out: *mut i32, capacity: usize, count: *mut usize) -> bool;
    pub fn wslink_value_copy_uint8s(value: wslink_value, out: *mut u8, capacity: usize, count: *mut usize) -> bool;
    pub fn wslink_args_new() -> *mut c_void;
    pub fn wslink_args_free(args: *mut c_void);
    pub fn wslink_args_clear(args: *mut c_void);
    pub fn wslink_args_add_null(args: *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_bool(args: *mut c_void, v: bool, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_int(args: *mut c_void, v: i64, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_uint(args: *mut c_void, v: u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_double(args: *mut c_void, v: f64, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_string(args: *mut c_void, text: wslink_str, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_bytes(args: *mut c_void, data: *const c_void, len: usize, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_buffer(args: *mut c_void, data: *const c_void, len: usize, release: wslink_drop_fn, user: *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_ext(args: *mut c_void, ext_type: i8, data: *const c_void, len: usize, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_doubles(args: *mut c_void, values: *const f64, count: usize, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_floats(args: *mut c_void, values: *const f32, count: usize, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_int64s(args: *mut c_void, values: *const i64, count: usize, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_uint64s(args: *mut c_void, values: *const u64, count: usize, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_int32s(args: *mut c_void, values: *const i32, count: usize, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_value(args: *mut c_void, value: wslink_value, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_begin_array(args: *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_begin_map(args: *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_key(args: *mut c_void, key: wslink_str, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_end(args: *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_keyword(args: *mut c_void, name: wslink_str, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_attach(args: *mut c_void, data: *const c_void, len: usize, release: wslink_drop_fn, user: *mut c_void, key: *mut c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_json(args: *mut c_void, json: wslink_str, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_json_array(args: *mut c_void, json: wslink_str, err: *mut *mut c_void) -> i32;
    pub fn wslink_args_add_json_keywords(args: *mut c_void, json: wslink_str, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_new(url: *const c_char, config: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_clone(config: *const c_void, copy: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_free(config: *mut c_void);
    pub fn wslink_config_set_secret(config: *mut c_void, secret: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_add_hello_member(config: *mut c_void, name: *const c_char, json: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_protocol(config: *mut c_void, protocol: i32, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_add_header(config: *mut c_void, name: *const c_char, value: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_connect_timeout(config: *mut c_void, milliseconds: u32, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_heartbeat(config: *mut c_void, milliseconds: u32, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_reconnect(config: *mut c_void, options: *const wslink_reconnect_options, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_reconnect_filter(config: *mut c_void, callback: wslink_reconnect_filter_fn, user: *mut c_void, drop: wslink_drop_fn, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_before_attempt(config: *mut c_void, callback: wslink_attempt_fn, user: *mut c_void, drop: wslink_drop_fn, err: *mut *mut c_void) -> i32;
    pub fn wslink_attempt_set_secret(attempt: *mut c_void, secret: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_attempt_set_url(attempt: *mut c_void, url: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_attempt_set_header(attempt: *mut c_void, name: *const c_char, value: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_call_timeout(config: *mut c_void, milliseconds: u32, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_max_message_size(config: *mut c_void, bytes: u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_max_unfinished(config: *mut c_void, count: usize, bytes: u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_attachment_store(config: *mut c_void, count: usize, bytes: u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_queue_bytes(config: *mut c_void, bytes: u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_send_queue_bytes(config: *mut c_void, bytes: u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_buffer_pool_bytes(config: *mut c_void, bytes: usize, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_v1_upload_limit(config: *mut c_void, bytes: u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_nodelay(config: *mut c_void, nodelay: bool, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_proxy(config: *mut c_void, url: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_add_ca_file(config: *mut c_void, path: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_add_ca_pem(config: *mut c_void, pem: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_platform_roots(config: *mut c_void, trusted: bool, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_add_certificate_pin(config: *mut c_void, fingerprint: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_danger_accept_any_certificate(config: *mut c_void, accept: bool, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_client_certificate(config: *mut c_void, chain_path: *const c_char, key_path: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_delivery(config: *mut c_void, delivery: i32, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_set_log(config: *mut c_void, level: i32, callback: wslink_log_fn, user: *mut c_void, drop: wslink_drop_fn, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_on_state(config: *mut c_void, callback: wslink_state_fn, user: *mut c_void, drop: wslink_drop_fn, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_on_progress(config: *mut c_void, callback: wslink_progress_fn, user: *mut c_void, drop: wslink_drop_fn, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_on_wakeup(config: *mut c_void, callback: wslink_wakeup_fn, user: *mut c_void, drop: wslink_drop_fn, err: *mut *mut c_void) -> i32;
    pub fn wslink_listener_new(options: *const wslink_listener_options, listener: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_listener_free(listener: *mut c_void);
    pub fn wslink_listener_port(listener: *const c_void) -> u16;
    pub fn wslink_listener_refused(listener: *const c_void) -> u64;
    pub fn wslink_config_new_accepting(listener: *const c_void, config: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_reverse_url(config: *const c_void, buffer: *mut c_char, size: usize) -> usize;
    pub fn wslink_process_new(words: *mut *const c_char, count: usize, process: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_process_free(process: *mut c_void);
    pub fn wslink_process_set_environment(process: *mut c_void, name: *const c_char, value: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_process_set_folder(process: *mut c_void, path: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_process_set_reach(process: *mut c_void, reach: i32, before_port: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_process_set_path(process: *mut c_void, path: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_process_set_end_timeout(process: *mut c_void, milliseconds: u32, err: *mut *mut c_void) -> i32;
    pub fn wslink_process_on_line(process: *mut c_void, callback: wslink_line_fn, user: *mut c_void, drop: wslink_drop_fn, err: *mut *mut c_void) -> i32;
    pub fn wslink_config_new_starting(process: *mut c_void, config: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_process_id(process: *const c_void) -> u32;
    pub fn wslink_process_url(process: *const c_void, buffer: *mut c_char, size: usize) -> usize;
    pub fn wslink_process_secret_file(process: *const c_void, buffer: *mut c_char, size: usize) -> usize;
    pub fn wslink_process_end(process: *const c_void);
    pub fn wslink_config_new_launcher(url: *const c_char, config: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_launcher_new(config: *const c_void, launcher: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_launcher_free(launcher: *mut c_void);
    pub fn wslink_launcher_set_timeout(launcher: *mut c_void, milliseconds: u32, err: *mut *mut c_void) -> i32;
    pub fn wslink_launcher_set_retry_delays(launcher: *mut c_void, milliseconds: *const u32, count: usize, err: *mut *mut c_void) -> i32;
    pub fn wslink_launcher_on_progress(launcher: *mut c_void, callback: wslink_launch_progress_fn, user: *mut c_void, drop: wslink_drop_fn, err: *mut *mut c_void) -> i32;
    pub fn wslink_launcher_open(launcher: *const c_void, args: *mut c_void, launched: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_launcher_status(launcher: *const c_void, id: *const c_char, launched: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_launcher_close(launcher: *const c_void, id: *const c_char, err: *mut *mut c_void) -> i32;
    pub fn wslink_launcher_cancel(launcher: *const c_void);
    pub fn wslink_launched_free(launched: *mut c_void);
    pub fn wslink_launched_id(launched: *const c_void) -> *const c_char;
    pub fn wslink_launched_url(launched: *const c_void) -> *const c_char;
    pub fn wslink_launched_document(launched: *const c_void) -> *const c_void;
    pub fn wslink_config_new_launched(launched: *const c_void, config: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_new(config: *const c_void, session: *mut *mut c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_free(session: *mut c_void);
    pub fn wslink_session_connect(session: *const c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_connect_wait(session: *const c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_state(session: *const c_void) -> i32;
    pub fn wslink_session_failure(session: *const c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_protocol(session: *const c_void) -> i32;
    pub fn wslink_session_max_msg_size(session: *const c_void) -> u64;
    pub fn wslink_session_client_id(session: *const c_void, buffer: *mut c_char, size: usize) -> usize;
    pub fn wslink_session_peer_address(session: *const c_void, buffer: *mut c_char, size: usize) -> usize;
    pub fn wslink_session_stats(session: *const c_void, stats: *mut wslink_stats, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_close(session: *const c_void, timeout_ms: u32, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_close_wait(session: *const c_void, timeout_ms: u32, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_call(session: *const c_void, method: wslink_str, args: *mut c_void, options: *const wslink_call_options, completion: wslink_completion_fn, user: *mut c_void, drop: wslink_drop_fn, call: *mut u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_call_wait(session: *const c_void, method: wslink_str, args: *mut c_void, options: *const wslink_call_options, reply: *mut *const c_void, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_cancel(session: *const c_void, call: u64) -> bool;
    pub fn wslink_session_subscribe(session: *const c_void, topic: wslink_str, options: *const wslink_subscribe_options, callback: wslink_publication_fn, user: *mut c_void, drop: wslink_drop_fn, subscription: *mut u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_unsubscribe(session: *const c_void, subscription: u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_subscription_counts(session: *const c_void, subscription: u64, delivered: *mut u64, dropped: *mut u64, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_dispatch(session: *const c_void, max_events: u32, timeout_ms: i32, err: *mut *mut c_void) -> i32;
    pub fn wslink_session_descriptor(session: *const c_void, err: *mut *mut c_void) -> c_int;
}
