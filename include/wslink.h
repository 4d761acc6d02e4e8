/**
 * @file
 * wslink: client for the servers of VTK, ParaView and trame. Generated from src/ffi; do not edit.
 *
 * Conventions
 *   - Functions that can fail return WSLINK_OK or a negative code (WSLINK_ERR_...), and store an error object
 *     in their last parameter `err`, which the caller frees; `err` may be NULL. Out-parameters are written
 *     only on success. Positive returns are states, not errors.
 *   - Every pointer is checked for NULL. Every _free and _unref takes NULL.
 *   - Strings in: configuration takes NUL-terminated ones, everything else a wslink_str, made by
 *     wslink_str_from("text") or {pointer, length}. All are copied. Strings must be UTF-8.
 *   - Strings and bytes out are views into the object they come from, and live as long as that.
 *   - A callback comes with `user`, the pointer it is called with, and `drop`, which is called exactly once with
 *     `user` after the last call of the callback, and also if the function that was to register it failed.
 *     `drop` may be NULL. A callback returns: neither C++ exceptions nor longjmp may leave it, because the library
 *     would be left in the middle of what it does.
 *   - Threads: a session may be used by any thread. Configurations and arguments by one thread at a time.
 *     Documents, buffers and errors are immutable: any thread may read them and change their count.
 *   - Callbacks run inside wslink_session_dispatch, on the thread that calls it, or on the I/O thread
 *     (WSLINK_DELIVERY_IO_THREAD). No lock is held meanwhile: every function may be called, except that those
 *     which wait refuse on the I/O thread with WSLINK_ERR_REENTRANT.
 *   - The library installs no signal handlers, raises no SIGPIPE, reads no environment, prints nothing.
 */

#ifndef WSLINK_H
#define WSLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#if defined(_WIN32) && defined(WSLINK_SHARED)
#define WSLINK_API __declspec(dllimport)
#else
#define WSLINK_API
#endif

/** Begins the options of a call. */
#define WSLINK_CALL_OPTIONS_INIT { sizeof(wslink_call_options), 0 }
/** Begins the options of a subscription. */
#define WSLINK_SUBSCRIBE_OPTIONS_INIT { sizeof(wslink_subscribe_options), 0, 0 }
/** Begins the options of reconnecting. */
#define WSLINK_RECONNECT_OPTIONS_INIT { sizeof(wslink_reconnect_options), 0, 500, 30000, 0, 0 }
/** Begins the statistics of a session. */
#define WSLINK_STATS_INIT { sizeof(wslink_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/**
 * Version of the header: the first number.
 */
#define WSLINK_VERSION_MAJOR 0

/**
 * Version of the header: the second number.
 */
#define WSLINK_VERSION_MINOR 1

/**
 * Version of the header: the third number.
 */
#define WSLINK_VERSION_PATCH 0

/**
 * Version of the header as one number: major * 1000000 + minor * 1000 + patch.
 */
#define WSLINK_VERSION_NUMBER 1000

/**
 * Success.
 */
#define WSLINK_OK 0

/**
 * An argument is not acceptable; the message says which and why.
 */
#define WSLINK_ERR_ARGUMENT -100

/**
 * A required pointer is null (C only).
 */
#define WSLINK_ERR_NULL -101

/**
 * Text is not valid UTF-8.
 */
#define WSLINK_ERR_UTF8 -102

/**
 * Text is not valid JSON.
 */
#define WSLINK_ERR_JSON -103

/**
 * The session is not in a state that allows this (for example a call before ready).
 */
#define WSLINK_ERR_STATE -104

/**
 * Not allowed from inside a callback or on the I/O thread, where it would wait for itself.
 */
#define WSLINK_ERR_REENTRANT -105

/**
 * The session is closed.
 */
#define WSLINK_ERR_CLOSED -106

/**
 * JSON text names an attachment key that was not added to these arguments.
 */
#define WSLINK_ERR_ATTACHMENT -107

/**
 * The value cannot be sent by the negotiated protocol.
 */
#define WSLINK_ERR_UNSUPPORTED -108

/**
 * The header of the program and the library do not fit together.
 */
#define WSLINK_ERR_VERSION -109

/**
 * A defect of this library was stopped at its border; please report it.
 */
#define WSLINK_ERR_PANIC -110

/**
 * No such value, key or index.
 */
#define WSLINK_ERR_NOT_FOUND -111

/**
 * The value has another kind than the one asked for.
 */
#define WSLINK_ERR_KIND -112

/**
 * The operating system refused something (memory, threads, descriptors).
 */
#define WSLINK_ERR_SYSTEM -113

/**
 * The host name has no address.
 */
#define WSLINK_ERR_RESOLVE -200

/**
 * No TCP connection: refused, unreachable, or timed out.
 */
#define WSLINK_ERR_CONNECT -201

/**
 * The HTTP proxy refused or failed.
 */
#define WSLINK_ERR_PROXY -202

/**
 * TLS failed: no TLS there, or a certificate that is not trusted.
 */
#define WSLINK_ERR_TLS -203

/**
 * The server answered the WebSocket upgrade with something else than 101.
 */
#define WSLINK_ERR_UPGRADE -204

/**
 * Connected, but the wslink hello got no usable answer.
 */
#define WSLINK_ERR_HELLO -205

/**
 * The server refused the secret.
 */
#define WSLINK_ERR_AUTH -206

/**
 * The server speaks the other protocol generation.
 */
#define WSLINK_ERR_MISMATCH -207

/**
 * The connection ended; the call may or may not have been executed.
 */
#define WSLINK_ERR_CONNECTION_LOST -300

/**
 * The deadline passed.
 */
#define WSLINK_ERR_TIMEOUT -301

/**
 * Cancelled by the application.
 */
#define WSLINK_ERR_CANCELLED -302

/**
 * The peer broke the WebSocket or wslink protocol.
 */
#define WSLINK_ERR_PROTOCOL -303

/**
 * A configured bound was hit; the message names it.
 */
#define WSLINK_ERR_LIMIT -304

/**
 * The server answered the call with an error; see `wslink_error_remote_code`.
 */
#define WSLINK_ERR_REMOTE -400

/**
 * Not part of a connection: arguments, state.
 */
#define WSLINK_STAGE_LOCAL 0

/**
 * Looking up the host name.
 */
#define WSLINK_STAGE_RESOLVE 1

/**
 * The TCP connection.
 */
#define WSLINK_STAGE_CONNECT 2

/**
 * The HTTP `CONNECT` to the proxy.
 */
#define WSLINK_STAGE_PROXY 3

/**
 * The TLS handshake.
 */
#define WSLINK_STAGE_TLS 4

/**
 * The WebSocket upgrade (RFC 6455 section 4).
 */
#define WSLINK_STAGE_UPGRADE 5

/**
 * Protocol detection and `wslink.hello`.
 */
#define WSLINK_STAGE_HELLO 6

/**
 * A ready session.
 */
#define WSLINK_STAGE_SESSION 7

/**
 * One call.
 */
#define WSLINK_STAGE_CALL 8

/**
 * Not asked to connect yet.
 */
#define WSLINK_STATE_IDLE 0

/**
 * On the way: resolving, connecting, TLS, upgrade, hello.
 */
#define WSLINK_STATE_CONNECTING 1

/**
 * Open: calls are possible.
 */
#define WSLINK_STATE_READY 2

/**
 * The connection ended without being asked to; `WSLINK_STATE_RECONNECTING` or `WSLINK_STATE_CLOSED` follows.
 */
#define WSLINK_STATE_LOST 3

/**
 * Waiting for the next attempt to connect (`wslink_config_set_reconnect`), which `wslink_session_connect` begins at
 * once.
 */
#define WSLINK_STATE_RECONNECTING 4

/**
 * Closing in agreement with the server.
 */
#define WSLINK_STATE_CLOSING 5

/**
 * Over; `wslink_session_connect` may be called again.
 */
#define WSLINK_STATE_CLOSED 6

/**
 * `None`, `null`, `nil`.
 */
#define WSLINK_KIND_NULL 0

/**
 * A truth value.
 */
#define WSLINK_KIND_BOOL 1

/**
 * An integer in the range of `int64_t`.
 */
#define WSLINK_KIND_INT 2

/**
 * An integer above the range of `int64_t`, within `uint64_t`.
 */
#define WSLINK_KIND_UINT 3

/**
 * A double.
 */
#define WSLINK_KIND_FLOAT 4

/**
 * UTF-8 text.
 */
#define WSLINK_KIND_STRING 5

/**
 * Binary data: an attachment.
 */
#define WSLINK_KIND_BYTES 6

/**
 * A list.
 */
#define WSLINK_KIND_ARRAY 7

/**
 * An ordered list of pairs; keys are of any kind.
 */
#define WSLINK_KIND_MAP 8

/**
 * A msgpack extension: a type from -128 to 127 and data.
 */
#define WSLINK_KIND_EXT 9

/**
 * An integer beyond 64 bit, as decimal text (protocol 1 only).
 */
#define WSLINK_KIND_BIGINT 10

/**
 * Find out which protocol the server speaks.
 */
#define WSLINK_PROTOCOL_AUTO 0

/**
 * JSON text and separate attachments: wslink 0.1 to 1.12.
 */
#define WSLINK_PROTOCOL_V1 1

/**
 * msgpack in chunks: wslink 2.
 */
#define WSLINK_PROTOCOL_V2 2

/**
 * Callbacks run inside `wslink_session_dispatch`. The default.
 */
#define WSLINK_DELIVERY_QUEUED 0

/**
 * Callbacks run on the I/O thread, at once. They must be short: the server is not answered meanwhile.
 */
#define WSLINK_DELIVERY_IO_THREAD 1

/**
 * Something failed.
 */
#define WSLINK_LOG_ERROR 1

/**
 * Something is odd.
 */
#define WSLINK_LOG_WARNING 2

/**
 * Connections come and go.
 */
#define WSLINK_LOG_INFO 3

/**
 * Every step.
 */
#define WSLINK_LOG_DEBUG 4

/**
 * Keep every publication; when `capacity` wait to be dispatched, new ones are dropped. The default.
 */
#define WSLINK_POLICY_ALL 0

/**
 * Keep the last `capacity` publications; older ones are dropped. With capacity 1 only the latest, which
 * is right for image streams.
 */
#define WSLINK_POLICY_LAST 1

/**
 * Strict JSON for any library; what JSON cannot say is made readable (NaN becomes null).
 */
#define WSLINK_JSON_PLAIN 0

/**
 * Nothing is lost: `{"$float": "NaN"}`, `{"$bytes": hex}`, `{"$ext": ...}`, `{"$map": [[key, value], ...]}`.
 */
#define WSLINK_JSON_TAGGED 1

/**
 * JSON text, as protocol 1 sends it: with Python's `NaN`, `Infinity` and integers of any size.
 */
#define WSLINK_ENCODING_JSON 1

/**
 * msgpack, as protocol 2 sends it.
 */
#define WSLINK_ENCODING_MSGPACK 2

/**
 * How large the buffer for the key of an attachment must be, NUL included.
 */
#define WSLINK_ATTACHMENT_KEY_SIZE 32

/**
 * The arguments of one call: positional ones in order, keyword arguments by name, binary data of any size.
 * Used by one thread at a time. A call takes the content out and leaves the handle empty, to be filled
 * again or freed.
 */
typedef struct wslink_args wslink_args;

/**
 * Binary data with a count of its owners. Immutable; any thread may read, ref and unref it. The memory is
 * where the message arrived: nothing is copied.
 */
typedef struct wslink_buffer wslink_buffer;

/**
 * The options of a session. Used by one thread at a time; a session copies it, so that it can be changed,
 * used for more sessions, or freed at once.
 */
typedef struct wslink_config wslink_config;

/**
 * A message that arrived: its bytes and an index of the values in them. Immutable, with a count of its
 * owners; any thread may read, ref and unref it. In a callback it is borrowed: to keep it, or a value or
 * view of it, beyond the callback, take a reference.
 */
typedef struct wslink_document wslink_document;

/**
 * What went wrong. From an `err` out-parameter it belongs to the caller, who frees it; in a callback it is
 * borrowed for the duration of the callback. Immutable: any thread may read it.
 */
typedef struct wslink_error wslink_error;

/**
 * JSON text made of a value, with the binary data of the value beside it.
 */
typedef struct wslink_json wslink_json;

/**
 * A connection to one server, with the thread that serves it. Any thread may use it, also inside callbacks.
 */
typedef struct wslink_session wslink_session;

/**
 * A view of one value: small, passed and copied by value, never freed. Valid as long as its document; the
 * members are private.
 */
typedef struct wslink_value {
  /**
   * The document that holds the value; NULL in a view of nothing.
   */
  const struct wslink_document *document;
  /**
   * Private: where in the document. One number, because two halves that are written one by one and read at once
   * make the processor wait.
   */
  uint64_t place;
} wslink_value;

/**
 * A borrowed view of UTF-8 text; not necessarily NUL-terminated. A NULL `ptr` with `len` 0 is the empty
 * string.
 */
typedef struct wslink_str {
  /**
   * The first byte.
   */
  const char *ptr;
  /**
   * How many bytes.
   */
  size_t len;
} wslink_str;

/**
 * A borrowed view of binary data.
 */
typedef struct wslink_bytes {
  /**
   * The first byte; may be NULL if `len` is 0.
   */
  const uint8_t *ptr;
  /**
   * How many bytes.
   */
  size_t len;
} wslink_bytes;

/**
 * Goes through the elements of an array or the pairs of a map. A plain struct: never freed, valid as long
 * as the document; the members are private.
 */
typedef struct wslink_iter {
  /**
   * Private.
   */
  struct wslink_value next;
  /**
   * Private.
   */
  uint32_t left;
  /**
   * Private.
   */
  bool map;
} wslink_iter;

/**
 * Frees user data. Called exactly once for every callback that was handed to the library, after its last
 * call, and also when the function it was handed to failed.
 */
typedef void (*wslink_drop_fn)(void *user);

/**
 * When a session connects again by itself. Begin with `WSLINK_RECONNECT_OPTIONS_INIT`, so that members of later
 * versions have their defaults.
 */
typedef struct wslink_reconnect_options {
  /**
   * `sizeof(wslink_reconnect_options)`.
   */
  size_t size;
  /**
   * So many attempts in a row, from one loss to the next ready session. 0 (default): without end.
   */
  uint32_t attempts;
  /**
   * Milliseconds before the first attempt, at least 1; doubled with every further one. What is really waited is
   * chosen by chance between half of it and all of it. Default 500.
   */
  uint32_t first_delay_ms;
  /**
   * The delay grows to this, in milliseconds. Default 30000.
   */
  uint32_t longest_delay_ms;
  /**
   * The whole time for attempts since the loss, in milliseconds. 0 (default): without end.
   */
  uint32_t total_ms;
  /**
   * Not 0: also if the very first connection fails, so that `wslink_session_connect` and
   * `wslink_session_connect_wait` wait for a server that is not up yet. Default 0.
   */
  int32_t at_first;
} wslink_reconnect_options;

/**
 * Asked before every attempt to reconnect whether the failure is worth it: true to try again. `attempt` is the number
 * that the attempt would have. Runs on the I/O thread, must answer at once, and must not use the session.
 */
typedef bool (*wslink_reconnect_filter_fn)(void *user, const struct wslink_error *reason, uint32_t attempt);

/**
 * Receives a line of the log, NUL-terminated, borrowed. Runs on any thread, and must not use the session.
 */
typedef void (*wslink_log_fn)(void *user, int32_t level, const char *line);

/**
 * A state that was entered, and why. Later versions may add members at the end.
 */
typedef struct wslink_state_change {
  /**
   * One of `WSLINK_STATE_...`.
   */
  int32_t state;
  /**
   * For `WSLINK_STATE_RECONNECTING`, and for `WSLINK_STATE_CONNECTING` after it: the number of the attempt,
   * counted from the last time the session was ready. Otherwise 0.
   */
  uint32_t attempt;
  /**
   * For `WSLINK_STATE_RECONNECTING`: milliseconds until that attempt. Otherwise 0.
   */
  uint64_t delay_ms;
  /**
   * Why, for `WSLINK_STATE_LOST`, `WSLINK_STATE_RECONNECTING`, and a `WSLINK_STATE_CLOSED` that was not asked
   * for; otherwise NULL. Borrowed for the callback.
   */
  const struct wslink_error *reason;
} wslink_state_change;

/**
 * Told about every change of state; `change` is borrowed for the callback.
 */
typedef void (*wslink_state_fn)(void *user, const struct wslink_state_change *change);

/**
 * How far a large message is.
 */
typedef struct wslink_progress {
  /**
   * From the server; otherwise to it.
   */
  bool incoming;
  /**
   * Tells transfers apart; never used again in a session.
   */
  uint64_t transfer;
  /**
   * The id of the call that an outgoing message belongs to, or 0.
   */
  uint64_t call;
  /**
   * Bytes so far.
   */
  uint64_t bytes;
  /**
   * Bytes in total. The last report of a transfer that arrives or is sent whole has `bytes` equal to it.
   */
  uint64_t total;
} wslink_progress;

/**
 * Told how far large messages are (256 KiB and more).
 */
typedef void (*wslink_progress_fn)(void *user, const struct wslink_progress *progress);

/**
 * Called when `wslink_session_dispatch` has something to do after it had nothing. Runs on any thread, often
 * the I/O thread: it must only wake the application's event loop (post an event, set a flag) and return.
 */
typedef void (*wslink_wakeup_fn)(void *user);

/**
 * What a session has done so far. Set `size` to `sizeof(wslink_stats)` before asking.
 */
typedef struct wslink_stats {
  /**
   * `sizeof(wslink_stats)`.
   */
  size_t size;
  /**
   * Replies and wanted publications received.
   */
  uint64_t messages_in;
  /**
   * Messages sent.
   */
  uint64_t messages_out;
  /**
   * Bytes received, framing included.
   */
  uint64_t bytes_in;
  /**
   * Bytes sent, framing included.
   */
  uint64_t bytes_out;
  /**
   * Publications on topics without a subscription, dropped undecoded.
   */
  uint64_t unsubscribed;
  /**
   * Messages without meaning. Small publications that wait for wslink_session_dispatch() count when they are dispatched,
   * and not at all if they never are.
   */
  uint64_t malformed;
  /**
   * Unfinished messages and kept attachments given up for the limits.
   */
  uint64_t evicted;
  /**
   * Replies to calls that had timed out or were cancelled.
   */
  uint64_t late_replies;
  /**
   * Replies to nothing that was asked.
   */
  uint64_t unknown_replies;
  /**
   * Calls that were accepted.
   */
  uint64_t calls;
  /**
   * Calls that wait for their reply.
   */
  uint64_t calls_in_flight;
  /**
   * Events that wait for `wslink_session_dispatch`.
   */
  uint64_t events_waiting;
} wslink_stats;

/**
 * Options of one call. Begin with `WSLINK_CALL_OPTIONS_INIT`, so that members of later versions have their
 * defaults.
 */
typedef struct wslink_call_options {
  /**
   * `sizeof(wslink_call_options)`.
   */
  size_t size;
  /**
   * How long to wait for the reply, in milliseconds. 0: as long as the connection lives.
   */
  uint32_t timeout_ms;
} wslink_call_options;

/**
 * Receives the outcome of a call, exactly once: `reply` (its value is `wslink_document_result(reply)`) or
 * `error`; the other is NULL. Both are borrowed for the callback: keep `reply` by `wslink_document_ref`.
 * Never runs inside the function that made the call. Runs where callbacks run; if the session is freed
 * before, inside `wslink_session_free`.
 */
typedef void (*wslink_completion_fn)(void *user,
                                     const struct wslink_document *reply,
                                     const struct wslink_error *error);

/**
 * Options of one subscription. Begin with `WSLINK_SUBSCRIBE_OPTIONS_INIT`.
 */
typedef struct wslink_subscribe_options {
  /**
   * `sizeof(wslink_subscribe_options)`.
   */
  size_t size;
  /**
   * `WSLINK_POLICY_ALL` (default) or `WSLINK_POLICY_LAST`: what happens to publications that are not
   * dispatched as fast as they come.
   */
  int32_t policy;
  /**
   * How many may wait. 0: the default, 65536 for `WSLINK_POLICY_ALL` and 1 for `WSLINK_POLICY_LAST`.
   */
  uint32_t capacity;
} wslink_subscribe_options;

/**
 * Receives a publication: `message` (its value is `wslink_document_result(message)`), or the `error` that the
 * server sent instead (it could not serialise what was published); the other is NULL. All are borrowed for
 * the callback. Runs where callbacks run.
 */
typedef void (*wslink_publication_fn)(void *user,
                                      struct wslink_str topic,
                                      const struct wslink_document *message,
                                      const struct wslink_error *error);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library that is loaded, as `WSLINK_VERSION_NUMBER`.
 */
WSLINK_API uint32_t wslink_version(void);

/**
 * The version of the library that is loaded, as text such as "0.1.0". Never freed.
 */
WSLINK_API const char *wslink_version_text(void);

/**
 * Whether a program that was compiled with this header can use the library that is loaded. Pass
 * `WSLINK_VERSION_NUMBER`. Returns `WSLINK_OK`, or `WSLINK_ERR_VERSION` if the library is older than
 * the header or its ABI is another one (before 1.0 each minor version is).
 */
WSLINK_API int32_t wslink_check_version(uint32_t header_version);

/**
 * Whether the library has a capability: "v1", "v2", "tls", "proxy", "client-certificate",
 * "descriptor". False for anything that it does not know, and for NULL.
 */
WSLINK_API bool wslink_has(const char *capability);

/**
 * A short English name of a code, such as "connection lost" for `WSLINK_ERR_CONNECTION_LOST`; "unknown
 * code" for a number that is none. Never NULL, never freed.
 */
WSLINK_API const char *wslink_code_text(int32_t code);

/**
 * A short English name of a stage (`WSLINK_STAGE_...`). Never NULL, never freed.
 */
WSLINK_API const char *wslink_stage_text(int32_t stage);

/**
 * A short English name of a state (`WSLINK_STATE_...`). Never NULL, never freed.
 */
WSLINK_API const char *wslink_state_text(int32_t state);

/**
 * A short English name of a kind of value (`WSLINK_KIND_...`). Never NULL, never freed.
 */
WSLINK_API const char *wslink_kind_text(int32_t kind);

/**
 * The code: one of `WSLINK_ERR_...`. `WSLINK_OK` for NULL.
 */
WSLINK_API int32_t wslink_error_code(const struct wslink_error *error);

/**
 * Where it failed: one of `WSLINK_STAGE_...`.
 */
WSLINK_API int32_t wslink_error_stage(const struct wslink_error *error);

/**
 * A sentence for a person, NUL-terminated; lives as long as the error. Never contains the secret. Empty
 * for NULL.
 */
WSLINK_API const char *wslink_error_message(const struct wslink_error *error);

/**
 * The HTTP status with which the server or a proxy refused, or 0.
 */
WSLINK_API int32_t wslink_error_http_status(const struct wslink_error *error);

/**
 * Whether the same attempt may succeed later without a change by the application.
 */
WSLINK_API bool wslink_error_is_retriable(const struct wslink_error *error);

/**
 * The number that the server gave its error: -32601 unknown method, -32000 not authenticated, -32001
 * exception in the method, -32002 result not serialisable; applications may use others. False, and `code`
 * untouched, if this is no error of the server.
 */
WSLINK_API bool wslink_error_remote_code(const struct wslink_error *error, int64_t *code);

/**
 * The server's words, NUL-terminated; lives as long as the error. Empty if this is no error of the server.
 */
WSLINK_API const char *wslink_error_remote_message(const struct wslink_error *error);

/**
 * What the server sent along with its error: for an exception a map with `method`, `exception` and `trace`
 * (which holds paths and source lines of the server: show it on request). The value lives as long as the
 * error. False, and `data` untouched, if there is none.
 */
WSLINK_API bool wslink_error_remote_data(const struct wslink_error *error, struct wslink_value *data);

/**
 * A copy that lives on its own, for keeping an error beyond a callback. NULL for NULL.
 */
WSLINK_API struct wslink_error *wslink_error_clone(const struct wslink_error *error);

/**
 * Frees an error. NULL is nothing.
 */
WSLINK_API void wslink_error_free(struct wslink_error *error);

/**
 * One more owner. Returns `buffer`.
 */
WSLINK_API const struct wslink_buffer *wslink_buffer_ref(const struct wslink_buffer *buffer);

/**
 * One owner less; the last one frees the memory. NULL is nothing. Has the type of a deleter for buffers
 * of other libraries.
 */
WSLINK_API void wslink_buffer_unref(const struct wslink_buffer *buffer);

/**
 * The first byte. Lives as long as the buffer has an owner. NULL for NULL.
 */
WSLINK_API const uint8_t *wslink_buffer_data(const struct wslink_buffer *buffer);

/**
 * How many bytes. 0 for NULL.
 */
WSLINK_API size_t wslink_buffer_size(const struct wslink_buffer *buffer);

/**
 * One more owner. Returns `document`.
 */
WSLINK_API const struct wslink_document *wslink_document_ref(const struct wslink_document *document);

/**
 * One owner less; the last one frees the message. NULL is nothing.
 */
WSLINK_API void wslink_document_unref(const struct wslink_document *document);

/**
 * Decodes a message that is at hand: one that was recorded, or any other JSON text or msgpack value.
 * `encoding` is `WSLINK_ENCODING_JSON` or `WSLINK_ENCODING_MSGPACK`. The `size` bytes at `data` are copied; they
 * must be one value and nothing else, at most 4 GiB. Attachments that JSON text names stay strings. On success
 * `*document` belongs to the caller, who unrefs it. Fails with `WSLINK_ERR_JSON`, `WSLINK_ERR_UTF8`,
 * `WSLINK_ERR_PROTOCOL` (malformed msgpack) or `WSLINK_ERR_LIMIT`. Any thread may call this; memory of earlier
 * documents of this function, at most 64 MiB in the process, is used again.
 */
WSLINK_API
int32_t wslink_document_decode(const uint8_t *data,
                               size_t size,
                               int32_t encoding,
                               const struct wslink_document **document,
                               struct wslink_error **err);

/**
 * The value that a reply or publication brought (the `result` of the message; the whole message if it has none).
 * Lives as long as the document. For NULL a view of nothing, of which every getter says so.
 */
WSLINK_API
struct wslink_value wslink_document_result(const struct wslink_document *document);

/**
 * The whole message as it came, a map with `id` and `result`.
 */
WSLINK_API struct wslink_value wslink_document_root(const struct wslink_document *document);

/**
 * How many bytes the message had on the wire, attachments included.
 */
WSLINK_API size_t wslink_document_wire_size(const struct wslink_document *document);

/**
 * Writes a value as JSON text. `style` is `WSLINK_JSON_PLAIN` (binary data becomes the key of an
 * attachment, such as "wslink_bin0") or `WSLINK_JSON_TAGGED` (nothing is lost, no attachments). On success
 * `*json` belongs to the caller, who frees it with `wslink_json_free`.
 */
WSLINK_API
int32_t wslink_value_to_json(struct wslink_value value,
                             int32_t style,
                             struct wslink_json **json,
                             struct wslink_error **err);

/**
 * The text, also NUL-terminated; lives as long as `json`.
 */
WSLINK_API struct wslink_str wslink_json_text(const struct wslink_json *json);

/**
 * How many attachments the text names.
 */
WSLINK_API size_t wslink_json_attachment_count(const struct wslink_json *json);

/**
 * One attachment: its key and its data, which live as long as `json`. False if there is none with this
 * index.
 */
WSLINK_API
bool wslink_json_attachment(const struct wslink_json *json,
                            size_t index,
                            struct wslink_str *key,
                            struct wslink_bytes *data);

/**
 * One attachment as a buffer of its own, at no copy; the caller unrefs it. NULL if there is none.
 */
WSLINK_API
const struct wslink_buffer *wslink_json_attachment_buffer(const struct wslink_json *json,
                                                          size_t index);

/**
 * Frees JSON text. NULL is nothing.
 */
WSLINK_API void wslink_json_free(struct wslink_json *json);

/**
 * What the value is: one of `WSLINK_KIND_...`, or `WSLINK_ERR_NULL` for a view of nothing.
 */
WSLINK_API int32_t wslink_value_kind(struct wslink_value value);

/**
 * Whether the value is null.
 */
WSLINK_API bool wslink_value_is_null(struct wslink_value value);

/**
 * The truth value. Like every getter: returns whether the value is of that kind and fits, and writes `*out`
 * only then; `out` may be NULL.
 */
WSLINK_API bool wslink_value_get_bool(struct wslink_value value, bool *out);

/**
 * The integer, if it is one and fits.
 */
WSLINK_API bool wslink_value_get_int(struct wslink_value value, int64_t *out);

/**
 * The integer, if it is one and not negative.
 */
WSLINK_API bool wslink_value_get_uint(struct wslink_value value, uint64_t *out);

/**
 * The number as a double: a float as it is, an integer of any size rounded to the nearest double.
 */
WSLINK_API bool wslink_value_get_double(struct wslink_value value, double *out);

/**
 * The text of a string, UTF-8, not NUL-terminated; it may contain NUL. Lives as long as the document.
 */
WSLINK_API bool wslink_value_get_string(struct wslink_value value, struct wslink_str *out);

/**
 * The binary data, where it arrived. Lives as long as the document; to keep it longer, use
 * `wslink_value_get_buffer` or `wslink_document_ref`.
 */
WSLINK_API bool wslink_value_get_bytes(struct wslink_value value, struct wslink_bytes *out);

/**
 * The binary data as a buffer that keeps itself alive, at no copy. The caller unrefs it.
 */
WSLINK_API bool wslink_value_get_buffer(struct wslink_value value, const struct wslink_buffer **out);

/**
 * The type and the data of an extension. Either out-parameter may be NULL.
 */
WSLINK_API bool wslink_value_get_ext(struct wslink_value value, int8_t *ext_type, struct wslink_bytes *data);

/**
 * The decimal digits of an integer beyond 64 bit, with its sign.
 */
WSLINK_API bool wslink_value_get_bigint(struct wslink_value value, struct wslink_str *out);

/**
 * How many elements an array has, pairs a map, bytes a string, binary data or an extension; 0 for others.
 */
WSLINK_API size_t wslink_value_size(struct wslink_value value);

/**
 * The element of an array. Steps over the elements before it: to visit all of them use `wslink_iter`.
 */
WSLINK_API bool wslink_value_at(struct wslink_value value, size_t index, struct wslink_value *out);

/**
 * The value of a string key of a map. Of equal keys the last one counts, as in Python.
 */
WSLINK_API bool wslink_value_find(struct wslink_value value, struct wslink_str key, struct wslink_value *out);

/**
 * An iterator before the first element of an array or pair of a map; at the end for other kinds.
 */
WSLINK_API struct wslink_iter wslink_value_iter(struct wslink_value value);

/**
 * The next element, or the next pair of a map (`key` is written for maps only and may be NULL). False at
 * the end. Visiting all takes time in proportion to the size of the container.
 */
WSLINK_API
bool wslink_iter_next(struct wslink_iter *iter,
                      struct wslink_value *key,
                      struct wslink_value *value);

/**
 * The texts of the next strings of an array, at most `capacity` of them, in one call: much quicker than one by one. Like
 * that of `wslink_value_get_string`, each lives as long as the document. Returns how many were written to `out`, the rest of
 * which is left as it was; the iterator is behind them then. 0 at the end, and if the next element is no string:
 * `wslink_iter_next` tells which by false, or gives that element. 0 for a map, for NULL and for no capacity, too.
 */
WSLINK_API
size_t wslink_iter_next_strings(struct wslink_iter *iter,
                                struct wslink_str *out,
                                size_t capacity);

/**
 * Copies an array of numbers, at most `capacity` of them, and writes how many there are to `*count` (may
 * be NULL). False if the value is not an array, or one of the elements that would be copied is no number; `out`
 * is then partly written. Integers are rounded to the nearest double.
 */
WSLINK_API
bool wslink_value_copy_doubles(struct wslink_value value,
                               double *out,
                               size_t capacity,
                               size_t *count);

/**
 * The same to `float`, rounded.
 */
WSLINK_API
bool wslink_value_copy_floats(struct wslink_value value,
                              float *out,
                              size_t capacity,
                              size_t *count);

/**
 * The same for integers; false if an element is a float or does not fit.
 */
WSLINK_API
bool wslink_value_copy_int64s(struct wslink_value value,
                              int64_t *out,
                              size_t capacity,
                              size_t *count);

/**
 * The same for integers; false if an element is a float or does not fit.
 */
WSLINK_API
bool wslink_value_copy_uint64s(struct wslink_value value,
                               uint64_t *out,
                               size_t capacity,
                               size_t *count);

/**
 * The same for integers; false if an element is a float or does not fit.
 */
WSLINK_API
bool wslink_value_copy_int32s(struct wslink_value value,
                              int32_t *out,
                              size_t capacity,
                              size_t *count);

/**
 * The same for integers; false if an element is a float or does not fit.
 */
WSLINK_API
bool wslink_value_copy_uint8s(struct wslink_value value,
                              uint8_t *out,
                              size_t capacity,
                              size_t *count);

/**
 * Empty arguments. The caller frees them. NULL only if there is no memory.
 */
WSLINK_API struct wslink_args *wslink_args_new(void);

/**
 * Frees arguments, and releases what was added by reference and not sent. NULL is nothing.
 */
WSLINK_API void wslink_args_free(struct wslink_args *args);

/**
 * Removes everything that was added.
 */
WSLINK_API void wslink_args_clear(struct wslink_args *args);

/**
 * Adds null.
 */
WSLINK_API int32_t wslink_args_add_null(struct wslink_args *args, struct wslink_error **err);

/**
 * Adds a truth value.
 */
WSLINK_API int32_t wslink_args_add_bool(struct wslink_args *args, bool v, struct wslink_error **err);

/**
 * Adds an integer.
 */
WSLINK_API int32_t wslink_args_add_int(struct wslink_args *args, int64_t v, struct wslink_error **err);

/**
 * Adds an integer.
 */
WSLINK_API int32_t wslink_args_add_uint(struct wslink_args *args, uint64_t v, struct wslink_error **err);

/**
 * Adds a float; NaN and the infinities arrive as such.
 */
WSLINK_API int32_t wslink_args_add_double(struct wslink_args *args, double v, struct wslink_error **err);

/**
 * Adds a string, which must be UTF-8.
 */
WSLINK_API
int32_t wslink_args_add_string(struct wslink_args *args,
                               struct wslink_str text,
                               struct wslink_error **err);

/**
 * Adds a copy of binary data.
 */
WSLINK_API
int32_t wslink_args_add_bytes(struct wslink_args *args,
                              const void *data,
                              size_t len,
                              struct wslink_error **err);

/**
 * Adds binary data by reference: it must stay valid and unchanged until `release(user)` is called, exactly
 * once, on any thread, when the library needs it no more (also if this function fails). `release` must not
 * wait for the session. NULL for memory that lives longer than the session.
 */
WSLINK_API
int32_t wslink_args_add_buffer(struct wslink_args *args,
                               const void *data,
                               size_t len,
                               wslink_drop_fn release,
                               void *user,
                               struct wslink_error **err);

/**
 * Adds a msgpack extension (protocol 2 only; on protocol 1 the call will fail).
 */
WSLINK_API
int32_t wslink_args_add_ext(struct wslink_args *args,
                            int8_t ext_type,
                            const void *data,
                            size_t len,
                            struct wslink_error **err);

/**
 * Adds an array of doubles in one step.
 */
WSLINK_API
int32_t wslink_args_add_doubles(struct wslink_args *args,
                                const double *values,
                                size_t count,
                                struct wslink_error **err);

/**
 * Adds an array of floats in one step.
 */
WSLINK_API
int32_t wslink_args_add_floats(struct wslink_args *args,
                               const float *values,
                               size_t count,
                               struct wslink_error **err);

/**
 * Adds an array of integers in one step.
 */
WSLINK_API
int32_t wslink_args_add_int64s(struct wslink_args *args,
                               const int64_t *values,
                               size_t count,
                               struct wslink_error **err);

/**
 * Adds an array of integers in one step.
 */
WSLINK_API
int32_t wslink_args_add_uint64s(struct wslink_args *args,
                                const uint64_t *values,
                                size_t count,
                                struct wslink_error **err);

/**
 * Adds an array of integers in one step.
 */
WSLINK_API
int32_t wslink_args_add_int32s(struct wslink_args *args,
                               const int32_t *values,
                               size_t count,
                               struct wslink_error **err);

/**
 * Adds a copy of a value that was received, binary data by reference where it is a buffer of its own.
 */
WSLINK_API
int32_t wslink_args_add_value(struct wslink_args *args,
                              struct wslink_value value,
                              struct wslink_error **err);

/**
 * Begins an array; what is added goes into it until `wslink_args_end`.
 */
WSLINK_API int32_t wslink_args_begin_array(struct wslink_args *args, struct wslink_error **err);

/**
 * Begins a map; keys and values are added in turn until `wslink_args_end`.
 */
WSLINK_API int32_t wslink_args_begin_map(struct wslink_args *args, struct wslink_error **err);

/**
 * The key of the next value of a map.
 */
WSLINK_API
int32_t wslink_args_key(struct wslink_args *args,
                        struct wslink_str key,
                        struct wslink_error **err);

/**
 * Ends the array or map that was begun last.
 */
WSLINK_API int32_t wslink_args_end(struct wslink_args *args, struct wslink_error **err);

/**
 * The next value that is added is the keyword argument `name`; the values after it are positional again.
 */
WSLINK_API
int32_t wslink_args_keyword(struct wslink_args *args,
                            struct wslink_str name,
                            struct wslink_error **err);

/**
 * Adds binary data by reference, as `wslink_args_add_buffer` does, not as a value but under a key that is
 * written to `key` (NUL-terminated, `WSLINK_ATTACHMENT_KEY_SIZE` bytes): JSON text that is added afterwards
 * names it wherever the data belongs, as in every wslink client.
 */
WSLINK_API
int32_t wslink_args_attach(struct wslink_args *args,
                           const void *data,
                           size_t len,
                           wslink_drop_fn release,
                           void *user,
                           char *key,
                           struct wslink_error **err);

/**
 * Adds one value as JSON text; `NaN`, `Infinity` and `-Infinity` are understood.
 */
WSLINK_API
int32_t wslink_args_add_json(struct wslink_args *args,
                             struct wslink_str json,
                             struct wslink_error **err);

/**
 * Adds positional arguments from the text of a JSON array, such as `[1, "two"]`.
 */
WSLINK_API
int32_t wslink_args_add_json_array(struct wslink_args *args,
                                   struct wslink_str json,
                                   struct wslink_error **err);

/**
 * Adds keyword arguments from the text of a JSON object, such as `{"size": 3}`.
 */
WSLINK_API
int32_t wslink_args_add_json_keywords(struct wslink_args *args,
                                      struct wslink_str json,
                                      struct wslink_error **err);

/**
 * The defaults, for a server at a URL: `ws://host:port/path?query`, or `wss://` for TLS. wslink servers
 * listen at the path `/ws` unless told otherwise. On success `*config` belongs to the caller, who frees it.
 */
WSLINK_API
int32_t wslink_config_new(const char *url,
                          struct wslink_config **config,
                          struct wslink_error **err);

/**
 * Frees a configuration. NULL is nothing.
 */
WSLINK_API void wslink_config_free(struct wslink_config *config);

/**
 * The secret of the hello; "wslink-secret" if not set, as for servers that were started without one.
 */
WSLINK_API
int32_t wslink_config_set_secret(struct wslink_config *config,
                                 const char *secret,
                                 struct wslink_error **err);

/**
 * A further member of the hello's map, its value as JSON text, for servers with a validation of their own.
 */
WSLINK_API
int32_t wslink_config_add_hello_member(struct wslink_config *config,
                                       const char *name,
                                       const char *json,
                                       struct wslink_error **err);

/**
 * `WSLINK_PROTOCOL_AUTO` (default), `WSLINK_PROTOCOL_V1` or `WSLINK_PROTOCOL_V2`.
 */
WSLINK_API
int32_t wslink_config_set_protocol(struct wslink_config *config,
                                   int32_t protocol,
                                   struct wslink_error **err);

/**
 * Adds a header to the upgrade request, for proxies before the server (`Authorization`, `Cookie`, ...).
 */
WSLINK_API
int32_t wslink_config_add_header(struct wslink_config *config,
                                 const char *name,
                                 const char *value,
                                 struct wslink_error **err);

/**
 * Time for everything from the host name to the reply to the hello, in milliseconds; 20000 if not set.
 */
WSLINK_API
int32_t wslink_config_set_connect_timeout(struct wslink_config *config,
                                          uint32_t milliseconds,
                                          struct wslink_error **err);

/**
 * Ping when nothing was heard for this many milliseconds, and give the connection up when nothing is heard
 * for as long again. Suspended while calls are in flight, because servers do not answer then; TCP is asked
 * instead, which finds a server that cannot be reached, not one that stands still. 0 (default): never.
 */
WSLINK_API
int32_t wslink_config_set_heartbeat(struct wslink_config *config,
                                    uint32_t milliseconds,
                                    struct wslink_error **err);

/**
 * Connect again by itself when the connection is lost: calls in flight are completed as
 * `WSLINK_ERR_CONNECTION_LOST` and never repeated, subscriptions stay, the server sees a new client. NULL (default):
 * not. A refused secret is never tried again.
 */
WSLINK_API
int32_t wslink_config_set_reconnect(struct wslink_config *config,
                                    const struct wslink_reconnect_options *options,
                                    struct wslink_error **err);

/**
 * Asked before every attempt to reconnect; without it, attempts are made after failures for which
 * `wslink_error_is_retriable` is true.
 */
WSLINK_API
int32_t wslink_config_set_reconnect_filter(struct wslink_config *config,
                                           wslink_reconnect_filter_fn callback,
                                           void *user,
                                           wslink_drop_fn drop,
                                           struct wslink_error **err);

/**
 * Largest message that is accepted, in bytes: one msgpack message, one JSON text, one attachment. Memory is
 * taken as it arrives, not as it is announced. 1 GiB if not set. The index of the values in a message may take as much again,
 * and 16 MiB in any case. It counts 8 bytes for most values, 16 for a float of JSON and a float32, 24 for an extension and for an
 * integer of JSON beyond 60 bits. Whatever the limit, a msgpack message or JSON text ends at 4 GiB, and its index at 2 GiB.
 */
WSLINK_API
int32_t wslink_config_set_max_message_size(struct wslink_config *config,
                                           uint64_t bytes,
                                           struct wslink_error **err);

/**
 * How many messages may be unfinished (chunked) at a time, and how many bytes of them are held. 64 and 2 GiB
 * if not set. Beyond the count the oldest is given up; beyond the bytes the connection ends.
 */
WSLINK_API
int32_t wslink_config_set_max_unfinished(struct wslink_config *config,
                                         size_t count,
                                         uint64_t bytes,
                                         struct wslink_error **err);

/**
 * How many attachments, and how many bytes of them, are kept for later messages (protocol 1). 256 and 512 MiB
 * if not set; the oldest are given up, the newest always stays.
 */
WSLINK_API
int32_t wslink_config_set_attachment_store(struct wslink_config *config,
                                           size_t count,
                                           uint64_t bytes,
                                           struct wslink_error **err);

/**
 * How many bytes of publications may wait for `wslink_session_dispatch`, over all subscriptions; 1 GiB if not
 * set. Beyond it publications are dropped as their subscription says, and counted.
 */
WSLINK_API
int32_t wslink_config_set_queue_bytes(struct wslink_config *config,
                                      uint64_t bytes,
                                      struct wslink_error **err);

/**
 * How many bytes of calls may wait to be sent; 1 GiB if not set. Beyond it calls are refused with
 * `WSLINK_ERR_LIMIT`.
 */
WSLINK_API
int32_t wslink_config_set_send_queue_bytes(struct wslink_config *config,
                                           uint64_t bytes,
                                           struct wslink_error **err);

/**
 * How many bytes of receive buffers are kept for the next large messages; 160 MiB if not set. 0: none.
 */
WSLINK_API
int32_t wslink_config_set_buffer_pool_bytes(struct wslink_config *config,
                                            size_t bytes,
                                            struct wslink_error **err);

/**
 * Largest message that a protocol 1 server takes, in bytes; 4194303 if not set (a server's
 * `WSLINK_MAX_MSG_SIZE` - 1). Larger ones are refused here instead of losing the connection.
 */
WSLINK_API
int32_t wslink_config_set_v1_upload_limit(struct wslink_config *config,
                                          uint64_t bytes,
                                          struct wslink_error **err);

/**
 * Whether small messages leave at once (TCP_NODELAY). True if not set.
 */
WSLINK_API
int32_t wslink_config_set_nodelay(struct wslink_config *config,
                                  bool nodelay,
                                  struct wslink_error **err);

/**
 * Connects through an HTTP proxy, with `CONNECT`: `http://user:password@host:port`. NULL (default): directly.
 * The environment is not looked at.
 */
WSLINK_API
int32_t wslink_config_set_proxy(struct wslink_config *config,
                                const char *url,
                                struct wslink_error **err);

/**
 * Trusts the certificates of a PEM file, of authorities or of the server itself.
 */
WSLINK_API
int32_t wslink_config_add_ca_file(struct wslink_config *config,
                                  const char *path,
                                  struct wslink_error **err);

/**
 * Trusts the certificates in PEM text.
 */
WSLINK_API
int32_t wslink_config_add_ca_pem(struct wslink_config *config,
                                 const char *pem,
                                 struct wslink_error **err);

/**
 * Whether the certificate authorities of the platform are trusted. True if not set.
 */
WSLINK_API
int32_t wslink_config_set_platform_roots(struct wslink_config *config,
                                         bool trusted,
                                         struct wslink_error **err);

/**
 * Accepts exactly the certificate with this SHA-256 fingerprint (64 hexadecimal digits, colons allowed),
 * whatever name, date and issuer are in it; further calls accept further ones. For servers that were started
 * with `--ssl adhoc`, whose certificate no authority has signed.
 */
WSLINK_API
int32_t wslink_config_add_certificate_pin(struct wslink_config *config,
                                          const char *fingerprint,
                                          struct wslink_error **err);

/**
 * Accepts any certificate: whoever sits between can read and change everything, the secret included. False
 * if not set.
 */
WSLINK_API
int32_t wslink_config_danger_accept_any_certificate(struct wslink_config *config,
                                                    bool accept,
                                                    struct wslink_error **err);

/**
 * Shows a certificate of the client: a PEM file with its chain and one with its PKCS #8 key.
 */
WSLINK_API
int32_t wslink_config_set_client_certificate(struct wslink_config *config,
                                             const char *chain_path,
                                             const char *key_path,
                                             struct wslink_error **err);

/**
 * Where callbacks run: `WSLINK_DELIVERY_QUEUED` (default) or `WSLINK_DELIVERY_IO_THREAD`.
 */
WSLINK_API
int32_t wslink_config_set_delivery(struct wslink_config *config,
                                   int32_t delivery,
                                   struct wslink_error **err);

/**
 * Where the log goes, up to this level (`WSLINK_LOG_...`). Nothing is logged if not set; secrets never are.
 */
WSLINK_API
int32_t wslink_config_set_log(struct wslink_config *config,
                              int32_t level,
                              wslink_log_fn callback,
                              void *user,
                              wslink_drop_fn drop,
                              struct wslink_error **err);

/**
 * Told about every change of state. Runs where callbacks run.
 */
WSLINK_API
int32_t wslink_config_on_state(struct wslink_config *config,
                               wslink_state_fn callback,
                               void *user,
                               wslink_drop_fn drop,
                               struct wslink_error **err);

/**
 * Told how far large messages are, in both directions. Runs where callbacks run; reports that were not
 * dispatched yet are replaced by later ones of the same transfer.
 */
WSLINK_API
int32_t wslink_config_on_progress(struct wslink_config *config,
                                  wslink_progress_fn callback,
                                  void *user,
                                  wslink_drop_fn drop,
                                  struct wslink_error **err);

/**
 * Called when there is something to dispatch; see `wslink_wakeup_fn`.
 */
WSLINK_API
int32_t wslink_config_on_wakeup(struct wslink_config *config,
                                wslink_wakeup_fn callback,
                                void *user,
                                wslink_drop_fn drop,
                                struct wslink_error **err);

/**
 * Makes a session that is not connected yet, and starts its I/O thread. The configuration is copied. On
 * success `*session` belongs to the caller, who frees it.
 */
WSLINK_API
int32_t wslink_session_new(const struct wslink_config *config,
                           struct wslink_session **session,
                           struct wslink_error **err);

/**
 * Ends a session at once, in any state, on any thread, also inside its callbacks. Calls in flight are
 * completed as `WSLINK_ERR_CLOSED` before this returns; it waits for callbacks that run on other threads; no
 * callback runs after it, and all user data was dropped: that of the callback it is called from when that
 * returns, that of callbacks of the configuration when the configuration is freed too. NULL is nothing.
 */
WSLINK_API void wslink_session_free(struct wslink_session *session);

/**
 * Begins to connect and returns at once; the state callback tells how it goes. Allowed when the session is
 * idle or closed, and while it waits to reconnect: then the attempt begins now.
 */
WSLINK_API int32_t wslink_session_connect(const struct wslink_session *session, struct wslink_error **err);

/**
 * Connects and waits until the session is ready or has failed; the connect timeout of the configuration
 * applies, to each attempt if `wslink_reconnect_options.at_first` asks for several. Not on the I/O thread (`WSLINK_ERR_REENTRANT`).
 */
WSLINK_API
int32_t wslink_session_connect_wait(const struct wslink_session *session,
                                    struct wslink_error **err);

/**
 * The state now: one of `WSLINK_STATE_...`; closed for NULL.
 */
WSLINK_API int32_t wslink_session_state(const struct wslink_session *session);

/**
 * Why the session is closed, if that was not asked for: the code is returned, and `*err` set as by a function
 * that failed. `WSLINK_OK` otherwise.
 */
WSLINK_API int32_t wslink_session_failure(const struct wslink_session *session, struct wslink_error **err);

/**
 * The protocol that was negotiated: `WSLINK_PROTOCOL_V1` or `_V2`; 0 before the session is ready.
 */
WSLINK_API int32_t wslink_session_protocol(const struct wslink_session *session);

/**
 * The size of the largest chunk that a protocol 2 server announced (`maxMsgSize`); 0 if it did not.
 */
WSLINK_API uint64_t wslink_session_max_msg_size(const struct wslink_session *session);

/**
 * Copies the name that the server gave this client into `buffer`, as `snprintf` does: cut to `size` and
 * NUL-terminated. Returns the length of the whole name. Empty before the session is ready.
 */
WSLINK_API size_t wslink_session_client_id(const struct wslink_session *session, char *buffer, size_t size);

/**
 * Copies the address of the server or proxy, such as "127.0.0.1:8080", as `wslink_session_client_id` does.
 */
WSLINK_API
size_t wslink_session_peer_address(const struct wslink_session *session,
                                   char *buffer,
                                   size_t size);

/**
 * What the session has done so far.
 */
WSLINK_API
int32_t wslink_session_stats(const struct wslink_session *session,
                             struct wslink_stats *stats,
                             struct wslink_error **err);

/**
 * Begins to close: calls in flight are completed as closed, and the server is told. After `timeout_ms` the
 * connection ends without its agreement.
 */
WSLINK_API
int32_t wslink_session_close(const struct wslink_session *session,
                             uint32_t timeout_ms,
                             struct wslink_error **err);

/**
 * Closes and waits until the session is closed, `timeout_ms` at most. Not on the I/O thread.
 */
WSLINK_API
int32_t wslink_session_close_wait(const struct wslink_session *session,
                                  uint32_t timeout_ms,
                                  struct wslink_error **err);

/**
 * Calls a method of the server. `args` may be NULL for none; on success its content is taken, on failure it
 * is left as it was. `options` may be NULL. The completion receives the outcome; `user` is dropped after it,
 * or now if this function fails. `*call` (may be NULL) is the id of the call, for `wslink_session_cancel`.
 */
WSLINK_API
int32_t wslink_session_call(const struct wslink_session *session,
                            struct wslink_str method,
                            struct wslink_args *args,
                            const struct wslink_call_options *options,
                            wslink_completion_fn completion,
                            void *user,
                            wslink_drop_fn drop,
                            uint64_t *call,
                            struct wslink_error **err);

/**
 * Calls a method and waits for the outcome. `args` may be NULL for none; on success its content is taken, on
 * failure it is left as it was. On success `*reply` belongs to the caller, who unrefs it. Not on
 * the I/O thread (`WSLINK_ERR_REENTRANT`); inside callbacks of `wslink_session_dispatch` it is allowed.
 */
WSLINK_API
int32_t wslink_session_call_wait(const struct wslink_session *session,
                                 struct wslink_str method,
                                 struct wslink_args *args,
                                 const struct wslink_call_options *options,
                                 const struct wslink_document **reply,
                                 struct wslink_error **err);

/**
 * Completes a call as `WSLINK_ERR_CANCELLED`; false if it is over already or never was. The server goes on
 * with it: wslink has no way to tell it.
 */
WSLINK_API bool wslink_session_cancel(const struct wslink_session *session, uint64_t call);

/**
 * Subscribes to a topic, in any state; subscriptions outlive connections. Any topic is possible, also the
 * empty one; several subscriptions to one topic each get every publication. `options` may be NULL. On success
 * `*subscription` is the id for `wslink_session_unsubscribe`. `user` is dropped after the last callback, or
 * now if this function fails.
 */
WSLINK_API
int32_t wslink_session_subscribe(const struct wslink_session *session,
                                 struct wslink_str topic,
                                 const struct wslink_subscribe_options *options,
                                 wslink_publication_fn callback,
                                 void *user,
                                 wslink_drop_fn drop,
                                 uint64_t *subscription,
                                 struct wslink_error **err);

/**
 * Ends a subscription: no callback begins after this returns, and none is running on another thread. Allowed
 * inside its own callback, whose `user` is then dropped when it returns. `WSLINK_ERR_NOT_FOUND` for an id
 * that is not (any more) one of a subscription.
 */
WSLINK_API
int32_t wslink_session_unsubscribe(const struct wslink_session *session,
                                   uint64_t subscription,
                                   struct wslink_error **err);

/**
 * How many publications the callback of a subscription was given, and how many were dropped because they were
 * not dispatched in time. Either out-parameter may be NULL.
 */
WSLINK_API
int32_t wslink_session_subscription_counts(const struct wslink_session *session,
                                           uint64_t subscription,
                                           uint64_t *delivered,
                                           uint64_t *dropped,
                                           struct wslink_error **err);

/**
 * Runs callbacks that wait, at most `max_events` of them (0: as many as wait), on this thread. Waits up to
 * `timeout_ms` for the first one (0: not at all, negative: without end). Returns how many were run, or a
 * negative code: `WSLINK_ERR_REENTRANT` from inside such a callback, `WSLINK_ERR_STATE` if callbacks run on
 * the I/O thread, `WSLINK_ERR_CLOSED` if the session was freed meanwhile, perhaps by one of these callbacks:
 * it must not be used again.
 */
WSLINK_API
int32_t wslink_session_dispatch(const struct wslink_session *session,
                                uint32_t max_events,
                                int32_t timeout_ms,
                                struct wslink_error **err);

/**
 * A descriptor that is readable as long as `wslink_session_dispatch` has something to do, for `poll`, `epoll`,
 * `QSocketNotifier` and the like. It belongs to the session: do not read from it and do not close it. -1 where
 * there is none (then use the wakeup function), with `*err` set.
 */
WSLINK_API
int wslink_session_descriptor(const struct wslink_session *session,
                              struct wslink_error **err);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WSLINK_H */

#ifndef WSLINK_STR_FROM
#define WSLINK_STR_FROM
/** A view of a NUL-terminated string; of the empty string for NULL. */
static inline wslink_str wslink_str_from(const char *text)
{
  wslink_str view;
  view.ptr = text;
  view.len = 0;
  if (text) {
    while (text[view.len]) {
      view.len++;
    }
  }
  return view;
}
#endif
