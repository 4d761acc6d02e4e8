/**
 * @file
 * wslink: client for the servers of VTK, ParaView and trame. Generated from src/ffi; do not edit.
 *
 * Conventions
 *   - Functions whose last parameter is `err` can fail. They then return a negative code (WSLINK_ERR_...), and store an
 *     error object in `err`, which the caller frees; `err` may be NULL. Otherwise they return WSLINK_OK or a positive
 *     number. Out-parameters are written only on success. wslink_session_descriptor returns a descriptor, or -1.
 *   - Every pointer is checked for NULL. Every _free and _unref function ignores NULL.
 *   - String parameters: wslink_config_..., wslink_attempt_..., wslink_listener_... and wslink_has take NUL-terminated
 *     strings, all others a wslink_str, made by wslink_str_from("text") or {pointer, length}. All are copied. Strings must
 *     be UTF-8.
 *   - Strings and bytes that a function returns are views into the object they come from, and valid as long as it.
 *   - A callback is passed with `user`, a pointer that is passed to each call of it, and `drop`, which is called exactly once
 *     with `user`: after the last call of the callback, or when the function that registers it fails.
 *     `drop` may be NULL; see wslink_drop_fn. A callback must return: neither C++ exceptions nor longjmp may leave it,
 *     because they would skip code of the library.
 *   - Threads: a session or a listener may be used by any thread, configurations and arguments by one thread at a time.
 *     Documents, buffers and errors are immutable: any thread may read them and change their reference counts.
 *   - Callbacks run inside wslink_session_dispatch, on the thread that calls it, or on the I/O thread
 *     (WSLINK_DELIVERY_IO_THREAD). Completions can also run inside wslink_session_free. No lock is held while a callback
 *     runs, so it may call every function. On the I/O thread, functions that wait fail with WSLINK_ERR_REENTRANT.
 *     Other rules apply to wslink_log_fn, wslink_wakeup_fn, wslink_reconnect_filter_fn and wslink_attempt_fn, see there.
 *   - Signals: the threads of the library block all signals except SIGPROF and those that the thread itself causes (SIGSEGV
 *     and the like). The signal masks of the application's threads are not changed.
 *   - pthread_cancel (of the default type, deferred) takes effect when the function of the library has returned,
 *     also for functions that wait and for the callbacks that they run: use timeouts there.
 *   - Numbers do not depend on the rounding mode of the thread (fesetround), which is not changed.
 *   - The library installs no signal handlers, raises no SIGPIPE, prints nothing. It uses no environment variables, but
 *     with OpenSSL (Linux) SSL_CERT_FILE and SSL_CERT_DIR say where the certificate authorities are.
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

/** Initialises the options of a call. */
#define WSLINK_CALL_OPTIONS_INIT { sizeof(wslink_call_options), 0 }
/** Initialises the options of a subscription. */
#define WSLINK_SUBSCRIBE_OPTIONS_INIT { sizeof(wslink_subscribe_options), 0, 0 }
/** Initialises the options of reconnecting. */
#define WSLINK_RECONNECT_OPTIONS_INIT { sizeof(wslink_reconnect_options), 0, 500, 30000, 0, 0 }
/** Initialises the options of a listener. */
#define WSLINK_LISTENER_OPTIONS_INIT { sizeof(wslink_listener_options), NULL, NULL, 0, NULL, NULL, { NULL, 0 }, NULL }
/** Initialises the counters of a session. */
#define WSLINK_STATS_INIT { sizeof(wslink_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

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
 * Elements of `int8_t`.
 */
#define WSLINK_TYPE_INT8 1

/**
 * Elements of `uint8_t`.
 */
#define WSLINK_TYPE_UINT8 2

/**
 * Elements of `int16_t`.
 */
#define WSLINK_TYPE_INT16 3

/**
 * Elements of `uint16_t`.
 */
#define WSLINK_TYPE_UINT16 4

/**
 * Elements of `int32_t`.
 */
#define WSLINK_TYPE_INT32 5

/**
 * Elements of `uint32_t`.
 */
#define WSLINK_TYPE_UINT32 6

/**
 * Elements of `int64_t`.
 */
#define WSLINK_TYPE_INT64 7

/**
 * Elements of `uint64_t`.
 */
#define WSLINK_TYPE_UINT64 8

/**
 * Elements of `float`.
 */
#define WSLINK_TYPE_FLOAT32 9

/**
 * Elements of `double`.
 */
#define WSLINK_TYPE_FLOAT64 10

/**
 * A call with this timeout waits until the connection ends, whatever the configuration says.
 */
#define WSLINK_NO_TIMEOUT UINT32_MAX

/**
 * Success.
 */
#define WSLINK_OK 0

/**
 * An argument is invalid; the message says which and why.
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
 * The function would wait for its own thread: a function that waits on the I/O thread, or dispatch inside a callback
 * of dispatch.
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
 * The program was compiled with a header that is not compatible with the library.
 */
#define WSLINK_ERR_VERSION -109

/**
 * A panic inside this library was caught before it reached the caller; please report it.
 */
#define WSLINK_ERR_PANIC -110

/**
 * No such value, key or index.
 */
#define WSLINK_ERR_NOT_FOUND -111

/**
 * The value is of another kind than requested.
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
 * The TLS handshake failed: the server does not speak TLS, or its certificate is not trusted.
 */
#define WSLINK_ERR_TLS -203

/**
 * The server answered the WebSocket upgrade with another HTTP status than 101.
 */
#define WSLINK_ERR_UPGRADE -204

/**
 * Connected, but the server sent no valid reply to the wslink hello.
 */
#define WSLINK_ERR_HELLO -205

/**
 * The server refused the secret.
 */
#define WSLINK_ERR_AUTH -206

/**
 * The server speaks another protocol generation than the one that the configuration demands.
 */
#define WSLINK_ERR_MISMATCH -207

/**
 * The launcher refused, failed, or is no launcher.
 */
#define WSLINK_ERR_LAUNCHER -208

/**
 * The connection ended; the server may or may not have executed the call.
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
 * A limit was exceeded. The message names it, and its option if it can be configured.
 */
#define WSLINK_ERR_LIMIT -304

/**
 * The server replied with an error; see `wslink_error_remote_code`.
 */
#define WSLINK_ERR_REMOTE -400

/**
 * Outside of a connection: arguments, state.
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
 * While the session was ready; not about one call.
 */
#define WSLINK_STAGE_SESSION 7

/**
 * Concerns one call.
 */
#define WSLINK_STAGE_CALL 8

/**
 * The request to a launcher.
 */
#define WSLINK_STAGE_LAUNCHER 9

/**
 * Not connected yet.
 */
#define WSLINK_STATE_IDLE 0

/**
 * Connecting: resolving, TCP, TLS, upgrade, hello.
 */
#define WSLINK_STATE_CONNECTING 1

/**
 * Connected: calls are possible.
 */
#define WSLINK_STATE_READY 2

/**
 * The connection ended, and the application has not closed it. `WSLINK_STATE_RECONNECTING` or `WSLINK_STATE_CLOSED`
 * follows.
 */
#define WSLINK_STATE_LOST 3

/**
 * Waiting for the next attempt to connect (`wslink_config_set_reconnect`). `wslink_session_connect` begins it at once.
 */
#define WSLINK_STATE_RECONNECTING 4

/**
 * The closing handshake is in progress.
 */
#define WSLINK_STATE_CLOSING 5

/**
 * Closed; `wslink_session_connect` may be called again.
 */
#define WSLINK_STATE_CLOSED 6

/**
 * `None`, `null`, `nil`.
 */
#define WSLINK_KIND_NULL 0

/**
 * A boolean.
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
 * An integer of more than 64 bits, as decimal text (protocol 1 only).
 */
#define WSLINK_KIND_BIGINT 10

/**
 * Detect which protocol the server speaks.
 */
#define WSLINK_PROTOCOL_AUTO 0

/**
 * JSON text and separate attachments: wslink 0.1 to 1.12.
 */
#define WSLINK_PROTOCOL_V1 1

/**
 * msgpack, split into chunks: wslink 2.
 */
#define WSLINK_PROTOCOL_V2 2

/**
 * Callbacks run inside `wslink_session_dispatch`. The default.
 */
#define WSLINK_DELIVERY_QUEUED 0

/**
 * Callbacks run on the I/O thread, immediately. They must be short, because the connection is not served while they
 * run.
 */
#define WSLINK_DELIVERY_IO_THREAD 1

/**
 * The server connects to the session, by `--reverse-url`. The default, because it needs no free port and no ready line.
 * If no argument has `{url}`, the arguments `--reverse-url {url}` are added.
 */
#define WSLINK_REACH_REVERSE 0

/**
 * The server chooses a port and prints a URL or the port. The line may lack its line break.
 */
#define WSLINK_REACH_PRINTED_PORT 1

/**
 * A free port is chosen for the server, and connecting is tried until the server listens. If no argument has `{port}`,
 * the arguments `--port {port}` are added. If another program takes the port first, the server ends with an error.
 */
#define WSLINK_REACH_CHOSEN_PORT 2

/**
 * Failures.
 */
#define WSLINK_LOG_ERROR 1

/**
 * Unexpected events that are not failures.
 */
#define WSLINK_LOG_WARNING 2

/**
 * The beginning and the end of connections.
 */
#define WSLINK_LOG_INFO 3

/**
 * Every step.
 */
#define WSLINK_LOG_DEBUG 4

/**
 * Overflow policy: when `capacity` publications are in the queue, new ones are dropped. The default.
 */
#define WSLINK_POLICY_ALL 0

/**
 * Overflow policy: when `capacity` publications are in the queue, the oldest is dropped for a new one. Capacity 1
 * keeps only the latest, as image streams need it.
 */
#define WSLINK_POLICY_LAST 1

/**
 * Strict JSON for any library. Values that JSON cannot express are converted (NaN to null).
 */
#define WSLINK_JSON_PLAIN 0

/**
 * Lossless: `{"$float": "NaN"}`, `{"$bytes": hex}`, `{"$ext": ...}`, `{"$map": [[key, value], ...]}`.
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
 * The size of the buffer for the key of an attachment, including the NUL.
 */
#define WSLINK_ATTACHMENT_KEY_SIZE 32

/**
 * The arguments of one call: positional arguments in order, keyword arguments by name, binary data of any size.
 * Used by one thread at a time. A call takes the content and leaves the handle empty, to be filled
 * again or freed.
 */
typedef struct wslink_args wslink_args;

/**
 * An attempt to connect that is about to begin. Valid during the callback that it is given to, on its thread.
 */
typedef struct wslink_attempt wslink_attempt;

/**
 * Binary data with a reference count. Immutable; any thread may read, ref and unref it. The memory is
 * that of the received message: nothing is copied.
 */
typedef struct wslink_buffer wslink_buffer;

/**
 * The options of a session. Used by one thread at a time. A session copies the configuration, which can then be
 * changed, used for other sessions, or freed.
 *
 * A callback that is set again replaces the former one, whose user data is dropped as soon as no session and no copy
 * of the configuration shares it. A callback cannot be removed: NULL fails with `WSLINK_ERR_NULL`.
 */
typedef struct wslink_config wslink_config;

/**
 * A received message: its bytes and an index of the values in them. Immutable, with a reference
 * count; any thread may read, ref and unref it. In a callback it is borrowed: to use it, or a value or
 * view of it, after the callback, add a reference.
 */
typedef struct wslink_document wslink_document;

/**
 * A failure. From an `err` out-parameter it belongs to the caller, who frees it; in a callback it is
 * borrowed for the duration of the callback. Immutable: any thread may read it.
 */
typedef struct wslink_error wslink_error;

/**
 * JSON text made of a value, and the binary data of the value. Belongs to the caller, who frees it with
 * `wslink_json_free`, and does not need the document. Immutable: any thread may read it.
 */
typedef struct wslink_json wslink_json;

/**
 * A session that a launcher has opened, or told about. Immutable: any thread may read it.
 */
typedef struct wslink_launched wslink_launched;

/**
 * A launcher: an HTTP service that starts servers (`python -m wslink.launcher`). Its functions wait for the service,
 * which may take half a minute; use a thread for which that is no harm. Any thread may use it.
 */
typedef struct wslink_launcher wslink_launcher;

/**
 * Listens for servers that open the connection themselves, because they were started with the option `--reverse-url`:
 * servers behind a firewall, or with a port that is not known in advance. `wslink_config_new_accepting` makes
 * configurations of it, for any number of sessions. It has a thread, and may be used by any thread.
 */
typedef struct wslink_listener wslink_listener;

/**
 * A wslink server that sessions start as a child process. Each attempt to connect of a session whose configuration
 * comes from `wslink_config_new_starting` starts the server if it does not run. So a session that reconnects
 * (`wslink_config_set_reconnect`) also restarts a server that has ended, within its limits.
 *
 * What the server prints is always read; its last lines are in the error if it ends before a session has reached it.
 *
 * The server is ended when the last handle, configuration and session that use it are freed: SIGTERM to its whole
 * process group, and SIGKILL after `wslink_process_set_end_timeout`. That function waits for the end. If the
 * application is killed, the server gets SIGTERM on Linux (children of the server do not). On Windows the server and all
 * processes that it has started are in a job, and are ended at once, also if the application is killed.
 *
 * One thread at a time may use a handle, except for `wslink_process_id` and `wslink_process_end`.
 */
typedef struct wslink_process wslink_process;

/**
 * A connection to one server, and its I/O thread. Any thread may use it, also inside callbacks.
 */
typedef struct wslink_session wslink_session;

/**
 * A view of one value: passed by value, never freed. Valid as long as its document. The
 * members are private.
 */
typedef struct wslink_value {
  /**
   * The document of the value; NULL in the empty view.
   */
  const struct wslink_document *document;
  /**
   * Private.
   */
  uint64_t place;
} wslink_value;

/**
 * A borrowed view of binary data.
 */
typedef struct wslink_bytes {
  /**
   * The first byte; may be NULL if `len` is 0.
   */
  const uint8_t *ptr;
  /**
   * The size in bytes.
   */
  size_t len;
} wslink_bytes;

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
   * The length in bytes.
   */
  size_t len;
} wslink_str;

/**
 * An iterator over the elements of an array or the pairs of a map. A plain struct: never freed, valid as long
 * as the document. The members are private.
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
 * Frees user data. Called exactly once for every callback that was passed to the library: after the last call of the
 * callback, or when the function to which it was passed fails.
 *
 * Runs on any thread: on that of the last call of the callback, or inside the function that ends or replaces the
 * callback. No lock is held. It may use the library, but not the session or configuration that is being freed or
 * changed.
 */
typedef void (*wslink_drop_fn)(void *user);

/**
 * When and how often a session reconnects. Initialise with `WSLINK_RECONNECT_OPTIONS_INIT`, so that members of later
 * versions have their defaults.
 */
typedef struct wslink_reconnect_options {
  /**
   * `sizeof(wslink_reconnect_options)`.
   */
  size_t size;
  /**
   * The maximum number of attempts in a row. The count begins again after a connection that was ready for ten
   * seconds, or for `longest_delay_ms` or `total_ms` if one of them is shorter. 0 (default): unlimited.
   */
  uint32_t attempts;
  /**
   * The backoff before the first attempt in milliseconds, at least 1. It doubles for every further attempt. The
   * actual delay is random, between half of the backoff and all of it. Default 500.
   */
  uint32_t first_delay_ms;
  /**
   * The maximum backoff in milliseconds. Default 30000.
   */
  uint32_t longest_delay_ms;
  /**
   * The maximum time for all attempts since the connection was lost, in milliseconds. 0 (default): unlimited.
   */
  uint32_t total_ms;
  /**
   * Not 0: attempts are also made if the first connection fails, so that `wslink_session_connect` and
   * `wslink_session_connect_wait` wait for a server that is not up yet. Default 0.
   */
  int32_t at_first;
} wslink_reconnect_options;

/**
 * Called after a failure, `reason`: true to make attempt number `attempt` to reconnect, false to give up.
 * `wslink_reconnect_options` limits the attempts all the same. Runs on the I/O thread, must return quickly, and must
 * not use the session.
 */
typedef bool (*wslink_reconnect_filter_fn)(void *user, const struct wslink_error *reason, uint32_t attempt);

/**
 * Called before each attempt to connect, including the first, to renew credentials that may have expired, by
 * `wslink_attempt_set_...`. New values stay for the following attempts. For an attempt that the application has
 * requested, `number` is 0 and `reason` is NULL. For an attempt to reconnect, `number` is its number and `reason` the
 * failure, borrowed. If the callback returns false, the session is closed (`WSLINK_ERR_CANCELLED`) and may be
 * connected again.
 *
 * Runs on the I/O thread. No connection is open then, so the callback may take long; its time counts towards the
 * connect timeout. `wslink_session_free` waits for the callback, so the callback must not wait for a thread that may
 * free the session.
 */
typedef bool (*wslink_attempt_fn)(void *user,
                                  struct wslink_attempt *attempt,
                                  uint32_t number,
                                  const struct wslink_error *reason);

/**
 * Receives a line of the log, NUL-terminated, borrowed. Runs on any thread, and must not use the session.
 */
typedef void (*wslink_log_fn)(void *user, int32_t level, const char *line);

/**
 * A change of state, and its reason. Later versions may add members at the end.
 */
typedef struct wslink_state_change {
  /**
   * The new state: one of `WSLINK_STATE_...`.
   */
  int32_t state;
  /**
   * For `WSLINK_STATE_RECONNECTING`, and for `WSLINK_STATE_CONNECTING` after it: the number of the attempt,
   * see `wslink_reconnect_options.attempts`. Otherwise 0.
   */
  uint32_t attempt;
  /**
   * For `WSLINK_STATE_RECONNECTING`: milliseconds until the attempt. Otherwise 0.
   */
  uint64_t delay_ms;
  /**
   * The reason of `WSLINK_STATE_LOST`, `WSLINK_STATE_RECONNECTING`, and `WSLINK_STATE_CLOSED` unless the application
   * has closed the session; otherwise NULL. Borrowed for the callback.
   */
  const struct wslink_error *reason;
} wslink_state_change;

/**
 * Called for every change of state; `change` is borrowed for the callback. The queue of `wslink_session_dispatch`
 * holds at most 64 changes. Beyond it, the last of several failed attempts to reconnect replaces the one before it;
 * otherwise the oldest change is dropped.
 */
typedef void (*wslink_state_fn)(void *user, const struct wslink_state_change *change);

/**
 * The progress of a large message. If the call of an outgoing message ends before the message is sent, and sending
 * stops, there are no further reports.
 */
typedef struct wslink_progress {
  /**
   * True for a message from the server, false for a message to the server.
   */
  bool incoming;
  /**
   * The number of the transfer, unique in the session.
   */
  uint64_t transfer;
  /**
   * The id of the call to which an outgoing message belongs, or 0.
   */
  uint64_t call;
  /**
   * How many bytes were transferred.
   */
  uint64_t bytes;
  /**
   * The size of the message in bytes. In the last report of a complete transfer, `bytes` is equal to it.
   */
  uint64_t total;
} wslink_progress;

/**
 * Receives the progress of large messages (256 KiB and more).
 */
typedef void (*wslink_progress_fn)(void *user, const struct wslink_progress *progress);

/**
 * Called when the queue of `wslink_session_dispatch` is no longer empty. Runs on any thread, often
 * the I/O thread: it must only wake the event loop of the application (post an event, set a flag) and return.
 */
typedef void (*wslink_wakeup_fn)(void *user);

/**
 * The options of a listener. Initialise with `WSLINK_LISTENER_OPTIONS_INIT`, so that members of later versions have
 * their defaults. All text is NUL-terminated UTF-8, and copied.
 */
typedef struct wslink_listener_options {
  /**
   * `sizeof(wslink_listener_options)`.
   */
  size_t size;
  /**
   * The IP address to listen at, such as "127.0.0.1", "::1" or, for all addresses of this machine, "0.0.0.0". NULL
   * (default): 127.0.0.1, which only this machine reaches.
   */
  const char *address;
  /**
   * The host in the URL for servers: the name or address by which they reach this machine. NULL (default):
   * `address`, which must then not be that of all addresses.
   */
  const char *host;
  /**
   * The port. 0 (default): one that the system picks, see `wslink_listener_port`.
   */
  uint16_t port;
  /**
   * For TLS (`wss`): the certificate chain in PEM, beginning with the certificate itself; with `key_pem`. NULL
   * (default): no TLS (`ws`), unless there is `pkcs12`.
   */
  const char *certificate_pem;
  /**
   * The key of the certificate in PEM, which must not be encrypted (PKCS #8 everywhere; OpenSSL also reads PKCS #1
   * and SEC 1). NULL if there is no `certificate_pem`.
   */
  const char *key_pem;
  /**
   * For TLS instead of `certificate_pem` and `key_pem`: the content of a PKCS #12 file. Empty (default): none.
   */
  struct wslink_bytes pkcs12;
  /**
   * The password of `pkcs12`. NULL (default): an empty one.
   */
  const char *pkcs12_password;
} wslink_listener_options;

/**
 * Receives each line that the server prints, NUL-terminated, without its line break, borrowed. `on_error`: the line is
 * from standard error. A line of more than 8 KiB comes in parts; text that is not UTF-8 is replaced. Runs on a thread
 * of the library, which reads nothing meanwhile; it must not free the process or a session that uses it.
 */
typedef void (*wslink_line_fn)(void *user, const char *line, bool on_error);

/**
 * Receives the number of each attempt to open a session, beginning with 1, and why the one before failed (NULL for the
 * first one; borrowed). Runs on the thread that opens, before the delay.
 */
typedef void (*wslink_launch_progress_fn)(void *user, uint32_t attempt, const struct wslink_error *reason);

/**
 * Counters of a session. Set `size` to `sizeof(wslink_stats)`, or initialise with `WSLINK_STATS_INIT`.
 */
typedef struct wslink_stats {
  /**
   * `sizeof(wslink_stats)`.
   */
  size_t size;
  /**
   * Replies received, and publications on topics with a subscription.
   */
  uint64_t messages_in;
  /**
   * Messages sent.
   */
  uint64_t messages_out;
  /**
   * Bytes received, including framing.
   */
  uint64_t bytes_in;
  /**
   * Bytes sent, including framing.
   */
  uint64_t bytes_out;
  /**
   * Publications on topics without a subscription, dropped undecoded.
   */
  uint64_t unsubscribed;
  /**
   * Malformed messages, including replies and publications whose content cannot be read.
   */
  uint64_t malformed;
  /**
   * Unfinished messages, and attachments to which no message had referred, that were dropped because of the limits.
   */
  uint64_t evicted;
  /**
   * Replies to calls that had timed out or were cancelled.
   */
  uint64_t late_replies;
  /**
   * Replies whose id belongs to no call.
   */
  uint64_t unknown_replies;
  /**
   * Calls that were accepted.
   */
  uint64_t calls;
  /**
   * Calls in flight: their reply has not arrived.
   */
  uint64_t calls_in_flight;
  /**
   * Events in the queue of `wslink_session_dispatch`.
   */
  uint64_t events_waiting;
  /**
   * Bytes of calls in the send queue. They wait if calls are made faster than the server or the network accepts
   * them.
   */
  uint64_t bytes_waiting;
} wslink_stats;

/**
 * Options of one call. Initialise with `WSLINK_CALL_OPTIONS_INIT`, so that members of later versions have their
 * defaults.
 */
typedef struct wslink_call_options {
  /**
   * `sizeof(wslink_call_options)`.
   */
  size_t size;
  /**
   * How long to wait for the reply, in milliseconds. 0 (default): as set by `wslink_config_set_call_timeout`.
   * `WSLINK_NO_TIMEOUT`: until the connection ends.
   */
  uint32_t timeout_ms;
} wslink_call_options;

/**
 * Receives the outcome of a call, exactly once: `reply` (its value is `wslink_document_result(reply)`) or
 * `error`; the other is NULL. Both are borrowed for the callback; `wslink_document_ref` keeps `reply`.
 * Runs where callbacks run (`wslink_config_set_delivery`), never inside `wslink_session_call`; if the session is freed
 * before, inside `wslink_session_free`.
 */
typedef void (*wslink_completion_fn)(void *user,
                                     const struct wslink_document *reply,
                                     const struct wslink_error *error);

/**
 * Options of one subscription. Initialise with `WSLINK_SUBSCRIBE_OPTIONS_INIT`.
 */
typedef struct wslink_subscribe_options {
  /**
   * `sizeof(wslink_subscribe_options)`.
   */
  size_t size;
  /**
   * The overflow policy, `WSLINK_POLICY_ALL` (default) or `WSLINK_POLICY_LAST`: what is dropped if publications
   * arrive faster than they are dispatched.
   */
  int32_t policy;
  /**
   * How many publications the queue may hold. 0: the default, 65536 for `WSLINK_POLICY_ALL` and 1 for
   * `WSLINK_POLICY_LAST`.
   */
  uint32_t capacity;
} wslink_subscribe_options;

/**
 * Receives a publication: `message` (its value is `wslink_document_result(message)`), or `error`; the other is NULL.
 * The error is that of the server, which could not serialise the value (`WSLINK_ERR_REMOTE`), or says why the library
 * cannot decode the message. All are borrowed for the callback. Runs where callbacks run
 * (`wslink_config_set_delivery`).
 */
typedef void (*wslink_publication_fn)(void *user,
                                      struct wslink_str topic,
                                      const struct wslink_document *message,
                                      const struct wslink_error *error);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the loaded library, as `WSLINK_VERSION_NUMBER`.
 */
WSLINK_API uint32_t wslink_version(void);

/**
 * The version of the loaded library as text, such as "0.1.0". Never freed.
 */
WSLINK_API const char *wslink_version_text(void);

/**
 * Checks whether a program that was compiled with this header can use the loaded library. Pass
 * `WSLINK_VERSION_NUMBER`. Returns `WSLINK_OK`, or `WSLINK_ERR_VERSION` if the library is older than
 * the header or has another ABI (before 1.0 every minor version has its own).
 */
WSLINK_API int32_t wslink_check_version(uint32_t header_version);

/**
 * Whether the library has a capability: "v1", "v2", "tls", "proxy", "client-certificate", "listener", "descriptor" (not
 * on Windows), "process" (not on Windows). False for an unknown name and for NULL.
 */
WSLINK_API
bool wslink_has(const char *capability);

/**
 * A short English name of a code, such as "connection lost" for `WSLINK_ERR_CONNECTION_LOST`; "unknown
 * code" for any other number. Never NULL, never freed.
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
 * The step that failed: one of `WSLINK_STAGE_...`.
 */
WSLINK_API int32_t wslink_error_stage(const struct wslink_error *error);

/**
 * A sentence for a person, NUL-terminated; valid as long as the error. Never contains the secret. Empty
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
 * The number of the server's error: -32601 unknown method, -32000 not authenticated, -32001 exception in the method,
 * -32002 result not serialisable; applications may use others. 0 if the server sent no number, or one that is not an
 * integer of 64 bits: see wslink_error_remote_value() then. False, and `code` untouched, if the error did not come
 * from the server.
 */
WSLINK_API
bool wslink_error_remote_code(const struct wslink_error *error,
                              int64_t *code);

/**
 * The message of the server's error, NUL-terminated; valid as long as the error. If the server's error has no message,
 * the beginning of it as JSON text. Empty if the error did not come from the server.
 */
WSLINK_API
const char *wslink_error_remote_message(const struct wslink_error *error);

/**
 * The data of the server's error: for an exception a map with `method`, `exception` and `trace`.
 * The trace contains paths and source lines of the server: show it only on request. The value is valid as long as the
 * error. False, and `data` untouched, if there is no data.
 */
WSLINK_API
bool wslink_error_remote_data(const struct wslink_error *error,
                              struct wslink_value *data);

/**
 * The whole error as the server sent it: wslink sends a map with `code`, `message` and mostly `data`; other servers
 * may send any value, for example a text. The value is valid as long as the error. False, and `value` untouched, if
 * the error did not come from the server.
 */
WSLINK_API
bool wslink_error_remote_value(const struct wslink_error *error,
                               struct wslink_value *value);

/**
 * A copy that belongs to the caller, to keep an error after a callback. NULL for NULL.
 */
WSLINK_API struct wslink_error *wslink_error_clone(const struct wslink_error *error);

/**
 * Frees an error. NULL is ignored.
 */
WSLINK_API void wslink_error_free(struct wslink_error *error);

/**
 * Adds a reference. Returns `buffer`.
 */
WSLINK_API const struct wslink_buffer *wslink_buffer_ref(const struct wslink_buffer *buffer);

/**
 * Releases a reference; the last one frees the memory. NULL is ignored. Other libraries can use this function as
 * the deleter of a buffer.
 */
WSLINK_API
void wslink_buffer_unref(const struct wslink_buffer *buffer);

/**
 * The first byte. Valid until the last reference is released. NULL for NULL.
 */
WSLINK_API const uint8_t *wslink_buffer_data(const struct wslink_buffer *buffer);

/**
 * The size in bytes. 0 for NULL.
 */
WSLINK_API size_t wslink_buffer_size(const struct wslink_buffer *buffer);

/**
 * Binary data as an array of little-endian numbers, as VTK and vtk.js send them. `element` is one of
 * `WSLINK_TYPE_...`. Received data begins at any address, but a pointer to numbers must be aligned for their type. If
 * the data is aligned, `*array` points to the data, `*copy` is NULL, and the array is valid as long as the data.
 * Otherwise `*array` points to a copy in the buffer `*copy`, which belongs to the caller, who unrefs it when the array
 * is not needed any more. `wslink_buffer_unref(copy)` is correct in both cases. `*count` is the number of elements.
 * Fails with `WSLINK_ERR_KIND` if the size of the data is not a multiple of that of an element.
 */
WSLINK_API
int32_t wslink_bytes_as_array(struct wslink_bytes data,
                              int32_t element,
                              const void **array,
                              size_t *count,
                              const struct wslink_buffer **copy,
                              struct wslink_error **err);

/**
 * Adds a reference. Returns `document`.
 */
WSLINK_API const struct wslink_document *wslink_document_ref(const struct wslink_document *document);

/**
 * Releases a reference; the last one frees the message. NULL is ignored.
 */
WSLINK_API void wslink_document_unref(const struct wslink_document *document);

/**
 * Decodes a recorded message, or any other JSON text or msgpack value.
 * `encoding` is `WSLINK_ENCODING_JSON` or `WSLINK_ENCODING_MSGPACK`. The `size` bytes at `data` are copied. They
 * must be exactly one value, of at most 4 GiB. Keys of attachments in JSON text stay strings. On success
 * `*document` belongs to the caller, who unrefs it. Fails with `WSLINK_ERR_JSON`, `WSLINK_ERR_UTF8`,
 * `WSLINK_ERR_PROTOCOL` (malformed msgpack) or `WSLINK_ERR_LIMIT`. Any thread may call this. The memory of released
 * documents is pooled, at most 64 MiB in the process.
 */
WSLINK_API
int32_t wslink_document_decode(const uint8_t *data,
                               size_t size,
                               int32_t encoding,
                               const struct wslink_document **document,
                               struct wslink_error **err);

/**
 * The value of a reply or publication: the `result` member of the message, or the whole message if it has none.
 * Valid as long as the document. For NULL the empty view, for which every getter returns false.
 */
WSLINK_API
struct wslink_value wslink_document_result(const struct wslink_document *document);

/**
 * The whole message, a map with `id` and `result`.
 */
WSLINK_API struct wslink_value wslink_document_root(const struct wslink_document *document);

/**
 * How many bytes the message had on the wire, including its attachments.
 */
WSLINK_API size_t wslink_document_wire_size(const struct wslink_document *document);

/**
 * Writes a value as JSON text. `style` is `WSLINK_JSON_PLAIN` (binary data is replaced by the key of an
 * attachment, such as "wslink_bin0") or `WSLINK_JSON_TAGGED` (lossless, without attachments). On success
 * `*json` belongs to the caller, who frees it with `wslink_json_free`.
 */
WSLINK_API
int32_t wslink_value_to_json(struct wslink_value value,
                             int32_t style,
                             struct wslink_json **json,
                             struct wslink_error **err);

/**
 * The text, also NUL-terminated; valid as long as `json`.
 */
WSLINK_API struct wslink_str wslink_json_text(const struct wslink_json *json);

/**
 * The number of attachments of the text.
 */
WSLINK_API size_t wslink_json_attachment_count(const struct wslink_json *json);

/**
 * One attachment: its key and its data, which are valid as long as `json`. False if there is no attachment with this
 * index.
 */
WSLINK_API
bool wslink_json_attachment(const struct wslink_json *json,
                            size_t index,
                            struct wslink_str *key,
                            struct wslink_bytes *data);

/**
 * One attachment as a buffer, without a copy; the caller unrefs it. NULL if there is no attachment with this index.
 */
WSLINK_API
const struct wslink_buffer *wslink_json_attachment_buffer(const struct wslink_json *json,
                                                          size_t index);

/**
 * Frees JSON text. NULL is ignored.
 */
WSLINK_API void wslink_json_free(struct wslink_json *json);

/**
 * The kind of the value: one of `WSLINK_KIND_...`, or `WSLINK_ERR_NULL` for the empty view.
 */
WSLINK_API int32_t wslink_value_kind(struct wslink_value value);

/**
 * Whether the value is null.
 */
WSLINK_API bool wslink_value_is_null(struct wslink_value value);

/**
 * The boolean. Like every getter, this function returns whether the value is of the kind and fits, and writes `*out`
 * only then; `out` may be NULL.
 */
WSLINK_API
bool wslink_value_get_bool(struct wslink_value value,
                           bool *out);

/**
 * The integer, if it is one and fits.
 */
WSLINK_API bool wslink_value_get_int(struct wslink_value value, int64_t *out);

/**
 * The integer, if it is one and not negative.
 */
WSLINK_API bool wslink_value_get_uint(struct wslink_value value, uint64_t *out);

/**
 * The number as a double: a float unchanged, an integer of any size rounded to the nearest double.
 */
WSLINK_API bool wslink_value_get_double(struct wslink_value value, double *out);

/**
 * The text of a string: UTF-8, not NUL-terminated, and it may contain NUL. Valid as long as the document.
 */
WSLINK_API bool wslink_value_get_string(struct wslink_value value, struct wslink_str *out);

/**
 * The binary data, without a copy. Valid as long as the document; to keep it longer, use
 * `wslink_value_get_buffer` or `wslink_document_ref`.
 */
WSLINK_API bool wslink_value_get_bytes(struct wslink_value value, struct wslink_bytes *out);

/**
 * The binary data as a buffer with a reference of its own, without a copy. The caller unrefs it.
 */
WSLINK_API bool wslink_value_get_buffer(struct wslink_value value, const struct wslink_buffer **out);

/**
 * The type and the data of an extension. Either out-parameter may be NULL.
 */
WSLINK_API bool wslink_value_get_ext(struct wslink_value value, int8_t *ext_type, struct wslink_bytes *data);

/**
 * The decimal digits of an integer of more than 64 bits, with its sign.
 */
WSLINK_API bool wslink_value_get_bigint(struct wslink_value value, struct wslink_str *out);

/**
 * The number of elements of an array, of pairs of a map, or of bytes of a string, binary data or extension. 0 for
 * other kinds.
 */
WSLINK_API
size_t wslink_value_size(struct wslink_value value);

/**
 * An element of an array. Takes time in proportion to `index`; to visit all elements, use `wslink_iter`.
 */
WSLINK_API bool wslink_value_at(struct wslink_value value, size_t index, struct wslink_value *out);

/**
 * The value of a string key of a map. The last of several equal keys counts, as in Python.
 */
WSLINK_API bool wslink_value_find(struct wslink_value value, struct wslink_str key, struct wslink_value *out);

/**
 * An iterator at the first element of an array or pair of a map; at the end for other kinds.
 */
WSLINK_API struct wslink_iter wslink_value_iter(struct wslink_value value);

/**
 * The next element, or the next pair of a map (`key` is written for maps only and may be NULL). False at
 * the end. Visiting all elements takes time in proportion to the size of the container.
 */
WSLINK_API
bool wslink_iter_next(struct wslink_iter *iter,
                      struct wslink_value *key,
                      struct wslink_value *value);

/**
 * Reads at most `capacity` strings from an array, up to the first element that is not a string. Much faster than one
 * call for each. The texts are valid as long as the document. Returns how many were written to `out`, and moves the
 * iterator behind them. 0 means that the array has ended, or that the next element is not a string: call
 * `wslink_iter_next`, which returns false at the end, and otherwise reads that element. Also 0 for a map, for NULL,
 * and if `capacity` is 0.
 */
WSLINK_API
size_t wslink_iter_next_strings(struct wslink_iter *iter,
                                struct wslink_str *out,
                                size_t capacity);

/**
 * Copies at most `capacity` numbers of an array to `out`, and writes the number of its elements to `*count` (may
 * be NULL). False if the value is not an array, or one of the elements that would be copied is not a number; `out`
 * is then partly written. Also false if `out` is not aligned for its type. Integers are rounded to the nearest
 * double.
 */
WSLINK_API
bool wslink_value_copy_doubles(struct wslink_value value,
                               double *out,
                               size_t capacity,
                               size_t *count);

/**
 * As `wslink_value_copy_doubles`, rounded to `float`.
 */
WSLINK_API
bool wslink_value_copy_floats(struct wslink_value value,
                              float *out,
                              size_t capacity,
                              size_t *count);

/**
 * As `wslink_value_copy_doubles`, to `int64_t`; false if an element is a float or does not fit.
 */
WSLINK_API
bool wslink_value_copy_int64s(struct wslink_value value,
                              int64_t *out,
                              size_t capacity,
                              size_t *count);

/**
 * As `wslink_value_copy_doubles`, to `uint64_t`; false if an element is a float or does not fit.
 */
WSLINK_API
bool wslink_value_copy_uint64s(struct wslink_value value,
                               uint64_t *out,
                               size_t capacity,
                               size_t *count);

/**
 * As `wslink_value_copy_doubles`, to `int32_t`; false if an element is a float or does not fit.
 */
WSLINK_API
bool wslink_value_copy_int32s(struct wslink_value value,
                              int32_t *out,
                              size_t capacity,
                              size_t *count);

/**
 * As `wslink_value_copy_doubles`, to `uint8_t`; false if an element is a float or does not fit.
 */
WSLINK_API
bool wslink_value_copy_uint8s(struct wslink_value value,
                              uint8_t *out,
                              size_t capacity,
                              size_t *count);

/**
 * Creates empty arguments. The caller frees them. NULL only if memory is exhausted.
 */
WSLINK_API struct wslink_args *wslink_args_new(void);

/**
 * Frees arguments, and releases data that was added by reference and not sent. NULL is ignored.
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
 * Adds a boolean.
 */
WSLINK_API int32_t wslink_args_add_bool(struct wslink_args *args, bool v, struct wslink_error **err);

/**
 * Adds an integer.
 */
WSLINK_API int32_t wslink_args_add_int(struct wslink_args *args, int64_t v, struct wslink_error **err);

/**
 * Adds an unsigned integer.
 */
WSLINK_API int32_t wslink_args_add_uint(struct wslink_args *args, uint64_t v, struct wslink_error **err);

/**
 * Adds a double. NaN and the infinities are allowed.
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
 * Adds binary data by reference: it must stay valid and unchanged until the library calls `release(user)`. It does so
 * exactly once, on any thread, when it does not need the data any more, also if this function fails. `release` must
 * not wait for the session. It may be NULL for memory that outlives the session.
 */
WSLINK_API
int32_t wslink_args_add_buffer(struct wslink_args *args,
                               const void *data,
                               size_t len,
                               wslink_drop_fn release,
                               void *user,
                               struct wslink_error **err);

/**
 * Adds a msgpack extension (protocol 2 only; with protocol 1 the call fails).
 */
WSLINK_API
int32_t wslink_args_add_ext(struct wslink_args *args,
                            int8_t ext_type,
                            const void *data,
                            size_t len,
                            struct wslink_error **err);

/**
 * Adds an array of doubles.
 */
WSLINK_API
int32_t wslink_args_add_doubles(struct wslink_args *args,
                                const double *values,
                                size_t count,
                                struct wslink_error **err);

/**
 * Adds an array of floats.
 */
WSLINK_API
int32_t wslink_args_add_floats(struct wslink_args *args,
                               const float *values,
                               size_t count,
                               struct wslink_error **err);

/**
 * Adds an array of integers.
 */
WSLINK_API
int32_t wslink_args_add_int64s(struct wslink_args *args,
                               const int64_t *values,
                               size_t count,
                               struct wslink_error **err);

/**
 * Adds an array of unsigned integers.
 */
WSLINK_API
int32_t wslink_args_add_uint64s(struct wslink_args *args,
                                const uint64_t *values,
                                size_t count,
                                struct wslink_error **err);

/**
 * Adds an array of integers.
 */
WSLINK_API
int32_t wslink_args_add_int32s(struct wslink_args *args,
                               const int32_t *values,
                               size_t count,
                               struct wslink_error **err);

/**
 * Adds a copy of a received value. Attachments of protocol 1 are added by reference, other binary data is copied.
 */
WSLINK_API
int32_t wslink_args_add_value(struct wslink_args *args,
                              struct wslink_value value,
                              struct wslink_error **err);

/**
 * Begins an array. Values are added to it until `wslink_args_end`.
 */
WSLINK_API int32_t wslink_args_begin_array(struct wslink_args *args, struct wslink_error **err);

/**
 * Begins a map. Keys (`wslink_args_key`) and values are added to it in turn until `wslink_args_end`.
 */
WSLINK_API int32_t wslink_args_begin_map(struct wslink_args *args, struct wslink_error **err);

/**
 * Adds the key of the next value of a map.
 */
WSLINK_API
int32_t wslink_args_key(struct wslink_args *args,
                        struct wslink_str key,
                        struct wslink_error **err);

/**
 * Ends the innermost array or map.
 */
WSLINK_API int32_t wslink_args_end(struct wslink_args *args, struct wslink_error **err);

/**
 * Makes the next value that is added the keyword argument `name`. The values after it are positional again.
 */
WSLINK_API
int32_t wslink_args_keyword(struct wslink_args *args,
                            struct wslink_str name,
                            struct wslink_error **err);

/**
 * Adds binary data by reference, as `wslink_args_add_buffer` does, but not as a value. Its key is
 * written to `key` (NUL-terminated, `WSLINK_ATTACHMENT_KEY_SIZE` bytes). In JSON text that is added afterwards,
 * each string that equals the key stands for the data, as in every wslink client.
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
 * Adds one value as JSON text. `NaN`, `Infinity` and `-Infinity` are accepted.
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
 * Creates a configuration with the defaults, for the server at a URL: `ws://host:port/path?query`, or `wss://` for
 * TLS. The default path of wslink servers is `/ws`. On success `*config` belongs to the caller, who frees it.
 */
WSLINK_API
int32_t wslink_config_new(const char *url,
                          struct wslink_config **config,
                          struct wslink_error **err);

/**
 * Copies a configuration. Callbacks are shared by the copies: several sessions may run them at the same
 * time, and their user data is dropped once, when all configurations and sessions that share it are freed. On success
 * `*copy` belongs to the caller, who frees it.
 */
WSLINK_API
int32_t wslink_config_clone(const struct wslink_config *config,
                            struct wslink_config **copy,
                            struct wslink_error **err);

/**
 * Frees a configuration. NULL is ignored.
 */
WSLINK_API void wslink_config_free(struct wslink_config *config);

/**
 * Sets the secret of the hello. Default: "wslink-secret", which servers use that were started without a secret.
 */
WSLINK_API
int32_t wslink_config_set_secret(struct wslink_config *config,
                                 const char *secret,
                                 struct wslink_error **err);

/**
 * Adds a member to the map of the hello, with its value as JSON text, for servers that validate more than the secret.
 */
WSLINK_API
int32_t wslink_config_add_hello_member(struct wslink_config *config,
                                       const char *name,
                                       const char *json,
                                       struct wslink_error **err);

/**
 * Sets the protocol: `WSLINK_PROTOCOL_AUTO` (default), `WSLINK_PROTOCOL_V1` or `WSLINK_PROTOCOL_V2`.
 */
WSLINK_API
int32_t wslink_config_set_protocol(struct wslink_config *config,
                                   int32_t protocol,
                                   struct wslink_error **err);

/**
 * Adds a header to the upgrade request (`Authorization`, `Cookie`, ...), for proxies in front of the server.
 */
WSLINK_API
int32_t wslink_config_add_header(struct wslink_config *config,
                                 const char *name,
                                 const char *value,
                                 struct wslink_error **err);

/**
 * Sets the time for one attempt to connect, from resolving the host name to the reply to the hello, in milliseconds.
 * Default: 20000. 0 fails with `WSLINK_ERR_ARGUMENT`.
 */
WSLINK_API
int32_t wslink_config_set_connect_timeout(struct wslink_config *config,
                                          uint32_t milliseconds,
                                          struct wslink_error **err);

/**
 * Sets the heartbeat: after this many milliseconds without data from the server, a Ping is sent. After the same time
 * again without data, the connection is considered lost. While calls are in flight, no Pings are sent, because servers
 * do not answer during a call; instead the TCP connection is checked, which detects an unreachable server, but not one
 * that hangs. 0 (default): no heartbeat.
 */
WSLINK_API
int32_t wslink_config_set_heartbeat(struct wslink_config *config,
                                    uint32_t milliseconds,
                                    struct wslink_error **err);

/**
 * Makes the session reconnect when the connection is lost. Calls in flight complete with `WSLINK_ERR_CONNECTION_LOST`
 * and are never repeated, subscriptions stay, and for the server it is a new client. NULL (default): no reconnecting.
 * After a refused secret an attempt is made only if `wslink_config_before_attempt` is set.
 */
WSLINK_API
int32_t wslink_config_set_reconnect(struct wslink_config *config,
                                    const struct wslink_reconnect_options *options,
                                    struct wslink_error **err);

/**
 * Sets a callback that decides after a failure whether another attempt to connect is made
 * (`wslink_config_set_reconnect`). Default: attempts are made after failures for which `wslink_error_is_retriable` is
 * true. After a refused secret the callback is called only if `wslink_config_before_attempt` is set; otherwise the
 * session is closed.
 */
WSLINK_API
int32_t wslink_config_set_reconnect_filter(struct wslink_config *config,
                                           wslink_reconnect_filter_fn callback,
                                           void *user,
                                           wslink_drop_fn drop,
                                           struct wslink_error **err);

/**
 * Sets a callback that runs before each attempt to connect, to renew a secret, a header or a URL that expires. With
 * this callback, a session that reconnects (`wslink_config_set_reconnect`) also goes on after a refused secret and
 * after the HTTP statuses 401 and 403. The callback then runs before the next attempt. If it changes nothing, that
 * attempt is not made, and the session is closed with the refusal as its failure.
 */
WSLINK_API
int32_t wslink_config_before_attempt(struct wslink_config *config,
                                     wslink_attempt_fn callback,
                                     void *user,
                                     wslink_drop_fn drop,
                                     struct wslink_error **err);

/**
 * Sets the secret of the hello for this and all following attempts. The library wipes its copy when it is not needed
 * any more.
 */
WSLINK_API
int32_t wslink_attempt_set_secret(struct wslink_attempt *attempt,
                                  const char *secret,
                                  struct wslink_error **err);

/**
 * Sets the URL for this and all following attempts, for example another server, or a new token in the query.
 */
WSLINK_API
int32_t wslink_attempt_set_url(struct wslink_attempt *attempt,
                               const char *url,
                               struct wslink_error **err);

/**
 * Sets a header of the upgrade request for this and all following attempts. It replaces all headers of this name. If
 * `value` is NULL, they are removed.
 */
WSLINK_API
int32_t wslink_attempt_set_header(struct wslink_attempt *attempt,
                                  const char *name,
                                  const char *value,
                                  struct wslink_error **err);

/**
 * Sets the timeout of calls without a timeout of their own (`wslink_call_options`), in milliseconds. 0
 * (default): calls wait until the connection ends.
 */
WSLINK_API
int32_t wslink_config_set_call_timeout(struct wslink_config *config,
                                       uint32_t milliseconds,
                                       struct wslink_error **err);

/**
 * Sets the largest message that is accepted, in bytes: one msgpack message, one JSON text, one attachment. Default: 1
 * GiB. A msgpack message or JSON text never has more than 4 GiB. Memory is allocated as data arrives, not as it is
 * announced.
 *
 * The index of the values in a message has a limit of the same size, but at least 16 MiB and at most 2 GiB. In it
 * - an extension and a JSON integer of more than 60 bits take 24 bytes,
 * - a JSON float and a float32 take 16 bytes,
 * - most other values take 8 bytes.
 */
WSLINK_API
int32_t wslink_config_set_max_message_size(struct wslink_config *config,
                                           uint64_t bytes,
                                           struct wslink_error **err);

/**
 * Sets how many messages may be unfinished, that is, some of their chunks are missing, and how many bytes of them are
 * stored. Default: 64 and 2 GiB. Beyond the count the oldest message is dropped; beyond the bytes the connection ends.
 * In protocol 1, `bytes` limits the attachments to which no message has referred yet: the oldest are dropped, the
 * newest always stays.
 */
WSLINK_API
int32_t wslink_config_set_max_unfinished(struct wslink_config *config,
                                         size_t count,
                                         uint64_t bytes,
                                         struct wslink_error **err);

/**
 * Sets how many attachments, and how many bytes of them, are kept after a message has referred to them (protocol 1).
 * Default: 64 and 32 MiB. A server of protocol 1 sends an attachment once, even if several messages refer to it. If a
 * message refers to an attachment that is not kept any more, its value is the key, a string, instead of the data. The
 * least recently used attachments are dropped first. Raise the limits for servers that refer to attachments
 * repeatedly. 0 keeps none.
 */
WSLINK_API
int32_t wslink_config_set_attachment_store(struct wslink_config *config,
                                           size_t count,
                                           uint64_t bytes,
                                           struct wslink_error **err);

/**
 * Sets how many bytes of publications the queue of `wslink_session_dispatch` may hold, for all subscriptions together.
 * Default: 1 GiB. Beyond it, publications are dropped by the overflow policy of their subscription, and counted. A
 * single publication may exceed it while no other publication is in the queue.
 */
WSLINK_API
int32_t wslink_config_set_queue_bytes(struct wslink_config *config,
                                      uint64_t bytes,
                                      struct wslink_error **err);

/**
 * Sets how many bytes of calls the send queue may hold. Default: 1 GiB. Beyond it, calls fail with
 * `WSLINK_ERR_LIMIT`.
 */
WSLINK_API
int32_t wslink_config_set_send_queue_bytes(struct wslink_config *config,
                                           uint64_t bytes,
                                           struct wslink_error **err);

/**
 * Sets how many bytes of free receive buffers the pool holds for large messages. Default: 160 MiB. 0: no pool.
 */
WSLINK_API
int32_t wslink_config_set_buffer_pool_bytes(struct wslink_config *config,
                                            size_t bytes,
                                            struct wslink_error **err);

/**
 * Sets the largest message that a protocol 1 server accepts, in bytes. Default: 4194303 (the server's default
 * `WSLINK_MAX_MSG_SIZE` - 1). A call with a larger message fails, because the server would close the connection.
 */
WSLINK_API
int32_t wslink_config_set_v1_upload_limit(struct wslink_config *config,
                                          uint64_t bytes,
                                          struct wslink_error **err);

/**
 * Sets TCP_NODELAY: whether small messages are sent without delay. Default: true.
 */
WSLINK_API
int32_t wslink_config_set_nodelay(struct wslink_config *config,
                                  bool nodelay,
                                  struct wslink_error **err);

/**
 * Sets an HTTP proxy, which is used by `CONNECT`: `http://user:password@host:port`. NULL (default): no proxy.
 * Environment variables are not used.
 */
WSLINK_API
int32_t wslink_config_set_proxy(struct wslink_config *config,
                                const char *url,
                                struct wslink_error **err);

/**
 * Trusts the certificates in a file: of authorities, of intermediate authorities, or of the server itself. The file is
 * PEM, where text between the certificates is ignored, or one certificate in DER.
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
 * Sets whether the certificate authorities of the platform are trusted. Default: true.
 */
WSLINK_API
int32_t wslink_config_set_platform_roots(struct wslink_config *config,
                                         bool trusted,
                                         struct wslink_error **err);

/**
 * Accepts only the certificate with this SHA-256 fingerprint (64 hexadecimal digits, colons allowed),
 * whatever its name, dates and issuer are. Further calls accept further certificates. For servers that were started
 * with `--ssl adhoc`, whose certificate is not signed by an authority.
 */
WSLINK_API
int32_t wslink_config_add_certificate_pin(struct wslink_config *config,
                                          const char *fingerprint,
                                          struct wslink_error **err);

/**
 * Accepts any certificate: a man in the middle can read and change everything, including the secret. Default: false.
 */
WSLINK_API
int32_t wslink_config_danger_accept_any_certificate(struct wslink_config *config,
                                                    bool accept,
                                                    struct wslink_error **err);

/**
 * Sets the client certificate: a PEM file with its chain, and a PEM file with its key, which must not be encrypted
 * (PKCS #8 everywhere; OpenSSL also reads PKCS #1 and SEC 1).
 */
WSLINK_API
int32_t wslink_config_set_client_certificate(struct wslink_config *config,
                                             const char *chain_path,
                                             const char *key_path,
                                             struct wslink_error **err);

/**
 * Sets where callbacks run: `WSLINK_DELIVERY_QUEUED` (default) or `WSLINK_DELIVERY_IO_THREAD`.
 */
WSLINK_API
int32_t wslink_config_set_delivery(struct wslink_config *config,
                                   int32_t delivery,
                                   struct wslink_error **err);

/**
 * Sets the callback that receives the log, up to this level (`WSLINK_LOG_...`). Default: no log. Secrets are never
 * logged.
 */
WSLINK_API
int32_t wslink_config_set_log(struct wslink_config *config,
                              int32_t level,
                              wslink_log_fn callback,
                              void *user,
                              wslink_drop_fn drop,
                              struct wslink_error **err);

/**
 * Sets the callback for changes of state, see `wslink_state_fn`. It runs where callbacks run, see
 * `wslink_config_set_delivery`.
 */
WSLINK_API
int32_t wslink_config_on_state(struct wslink_config *config,
                               wslink_state_fn callback,
                               void *user,
                               wslink_drop_fn drop,
                               struct wslink_error **err);

/**
 * Sets the callback for the progress of large messages, in both directions. It runs where callbacks run, see
 * `wslink_config_set_delivery`. At the end of the queue, a later report of a transfer replaces an earlier one. While
 * 10000 events are in the queue, reports are left out.
 */
WSLINK_API
int32_t wslink_config_on_progress(struct wslink_config *config,
                                  wslink_progress_fn callback,
                                  void *user,
                                  wslink_drop_fn drop,
                                  struct wslink_error **err);

/**
 * Sets the callback that wakes the event loop of the application; see `wslink_wakeup_fn`.
 */
WSLINK_API
int32_t wslink_config_on_wakeup(struct wslink_config *config,
                                wslink_wakeup_fn callback,
                                void *user,
                                wslink_drop_fn drop,
                                struct wslink_error **err);

/**
 * Begins to listen, and starts a thread. `options` may be NULL. `WSLINK_ERR_SYSTEM` if the port is in use, or the
 * address not one of this machine; `WSLINK_ERR_ARGUMENT` if an option cannot be used. On success `*listener` belongs
 * to the caller, who frees it.
 */
WSLINK_API
int32_t wslink_listener_new(const struct wslink_listener_options *options,
                            struct wslink_listener **listener,
                            struct wslink_error **err);

/**
 * Frees a listener. NULL is ignored. Configurations and sessions that were made of it stay usable: it ends, and closes
 * its socket, when the last of them is freed, too. This waits for its thread, which runs no callback.
 */
WSLINK_API
void wslink_listener_free(struct wslink_listener *listener);

/**
 * The port at which a listener listens. 0 for NULL.
 */
WSLINK_API uint16_t wslink_listener_port(const struct wslink_listener *listener);

/**
 * How many connections a listener has refused: with a wrong path, from a web page (with an `Origin`), too slow, to a
 * path in use, or with a request that is not one of wslink servers. 0 for NULL.
 */
WSLINK_API
uint64_t wslink_listener_refused(const struct wslink_listener *listener);

/**
 * Creates a configuration with the defaults, for a server that opens the connection itself. Start it with the option
 * `--reverse-url` and the URL of `wslink_config_reverse_url`. A session then does not connect: `wslink_session_connect`
 * and the like wait for the server's next connection, at most for the connect timeout
 * (`wslink_config_set_connect_timeout`), and reconnecting (`wslink_config_set_reconnect`) waits for the server to
 * connect again.
 *
 * Each configuration has a URL of its own. Its copies and sessions share that URL, at which one connection is accepted
 * at a time: use one configuration for one session. The URL is closed when the last of them is freed.
 *
 * Options about the way to a server have no effect: `wslink_config_add_header`, `wslink_config_set_proxy`, and those of
 * TLS (`wslink_config_add_ca_file` and so on). `wslink_attempt_set_url` and `wslink_attempt_set_header` fail with
 * `WSLINK_ERR_ARGUMENT`. On success `*config` belongs to the caller, who frees it; it may outlive the listener.
 */
WSLINK_API
int32_t wslink_config_new_accepting(const struct wslink_listener *listener,
                                    struct wslink_config **config,
                                    struct wslink_error **err);

/**
 * Copies the URL for the option `--reverse-url` of a server to `buffer`, as `snprintf` does: truncated to `size` and
 * NUL-terminated. Returns the length of the whole URL. Empty if the configuration is not one of
 * `wslink_config_new_accepting`. It contains a secret token: whoever knows it may connect in the place of the server.
 */
WSLINK_API
size_t wslink_config_reverse_url(const struct wslink_config *config,
                                 char *buffer,
                                 size_t size);

/**
 * Describes a server: `words` are the program (a path, or a name that is searched in PATH) and its arguments, `count`
 * in all. Nothing is started yet. On success `*process` belongs to the caller, who frees it.
 *
 * In arguments, and in values set by `wslink_process_set_environment`, these placeholders are replaced: `{url}` (the
 * URL for `--reverse-url`), `{port}` (see `wslink_process_set_reach`), `{secret}`, and `{secret_file}`, the path of a
 * file with the secret that only the user can read, removed when the server ends. The secret is random for each start,
 * and sessions use it, if one of these two placeholders occurs. Anybody on the machine can read arguments, so
 * `{secret}` is for the environment.
 */
WSLINK_API
int32_t wslink_process_new(const char *const *words,
                           size_t count,
                           struct wslink_process **process,
                           struct wslink_error **err);

/**
 * Frees a handle. NULL is ignored. The server is ended if nothing else uses it, see `wslink_process`.
 */
WSLINK_API void wslink_process_free(struct wslink_process *process);

/**
 * Adds a variable to the environment that the server inherits from the application. `PYTHONUNBUFFERED=1` is added by
 * itself, so that lines of Python come at once.
 */
WSLINK_API
int32_t wslink_process_set_environment(struct wslink_process *process,
                                       const char *name,
                                       const char *value,
                                       struct wslink_error **err);

/**
 * Sets the folder in which the server runs. Default: the current folder of the application when it starts.
 */
WSLINK_API
int32_t wslink_process_set_folder(struct wslink_process *process,
                                  const char *path,
                                  struct wslink_error **err);

/**
 * Sets how sessions reach the server: one of `WSLINK_REACH_...`. `before_port`: for `WSLINK_REACH_PRINTED_PORT` the
 * text before the port in what the server prints, such as "READY "; NULL: it prints a URL, as trame does. Otherwise
 * ignored.
 */
WSLINK_API
int32_t wslink_process_set_reach(struct wslink_process *process,
                                 int32_t reach,
                                 const char *before_port,
                                 struct wslink_error **err);

/**
 * Sets the path of the server's WebSocket. Default: "/ws". Not used with `WSLINK_REACH_REVERSE`.
 */
WSLINK_API
int32_t wslink_process_set_path(struct wslink_process *process,
                                const char *path,
                                struct wslink_error **err);

/**
 * Sets how long the server may take to end after SIGTERM, in milliseconds; then it is killed. Default: 5000. At most a day.
 */
WSLINK_API
int32_t wslink_process_set_end_timeout(struct wslink_process *process,
                                       uint32_t milliseconds,
                                       struct wslink_error **err);

/**
 * Sets the callback for each line that the server prints, see `wslink_line_fn`. `drop` is called as for all callbacks,
 * see `wslink_drop_fn`.
 */
WSLINK_API
int32_t wslink_process_on_line(struct wslink_process *process,
                               wslink_line_fn callback,
                               void *user,
                               wslink_drop_fn drop,
                               struct wslink_error **err);

/**
 * Creates a configuration with the defaults, whose sessions start the server. It keeps the server alive like the
 * handle does. After the first one, the options of the process cannot be changed. With `WSLINK_REACH_REVERSE` use one
 * configuration for one session, because the server has one connection. On success `*config` belongs to the caller.
 */
WSLINK_API
int32_t wslink_config_new_starting(struct wslink_process *process,
                                   struct wslink_config **config,
                                   struct wslink_error **err);

/**
 * The id of the server's process while it runs; otherwise 0.
 */
WSLINK_API uint32_t wslink_process_id(const struct wslink_process *process);

/**
 * Copies the URL at which other clients reach the server to `buffer`, as `snprintf` does: truncated to `size` and
 * NUL-terminated. Returns the length of the whole URL. Empty while the server does not run or has not told its
 * address, and with `WSLINK_REACH_REVERSE`, because such a server has one connection.
 */
WSLINK_API
size_t wslink_process_url(const struct wslink_process *process,
                          char *buffer,
                          size_t size);

/**
 * Copies the path of the file with the secret of the server, for other clients of the same user, as
 * `wslink_process_url` does. Empty while the server does not run, and if no argument or variable has `{secret_file}`.
 */
WSLINK_API
size_t wslink_process_secret_file(const struct wslink_process *process,
                                  char *buffer,
                                  size_t size);

/**
 * Ends the server, if it runs, and waits for its end, at most for the time of `wslink_process_set_end_timeout` and a
 * second. A session that reconnects starts it again. Any thread may call this. NULL is ignored.
 */
WSLINK_API
void wslink_process_end(const struct wslink_process *process);

/**
 * Creates a configuration with the defaults, for a launcher at an `http` or `https` URL, such as
 * "https://host/paraview/", and for sessions with the servers that it starts. Without a path, the URL gets the usual
 * one, `/paraview/`. No session can be made of it: it is for `wslink_launcher_new`. On success `*config` belongs to the
 * caller.
 */
WSLINK_API
int32_t wslink_config_new_launcher(const char *url,
                                   struct wslink_config **config,
                                   struct wslink_error **err);

/**
 * Creates a launcher. Headers, credentials, proxy, TLS, log and connect timeout are those of `config`
 * (`wslink_config_new_launcher`), which is copied. Nothing is sent yet. On success `*launcher` belongs to the caller,
 * who frees it.
 */
WSLINK_API
int32_t wslink_launcher_new(const struct wslink_config *config,
                            struct wslink_launcher **launcher,
                            struct wslink_error **err);

/**
 * Frees a launcher, which no thread may be using. NULL is ignored. What it has opened stays open.
 */
WSLINK_API void wslink_launcher_free(struct wslink_launcher *launcher);

/**
 * Sets how long the launcher may take for an answer after it is connected, in milliseconds. It answers when the server
 * is ready, or has not become ready within the launcher's own limit. Default: 120000. 0 fails with
 * `WSLINK_ERR_ARGUMENT`.
 */
WSLINK_API
int32_t wslink_launcher_set_timeout(struct wslink_launcher *launcher,
                                    uint32_t milliseconds,
                                    struct wslink_error **err);

/**
 * Sets the delays before further attempts of `wslink_launcher_open`, `count` of them, in milliseconds. An attempt
 * follows if the launcher could not be reached, or refused with a status that may not last, such as 503 because all
 * resources are taken. A request that may have started a server is not repeated. Default: none, so that there is one
 * attempt.
 */
WSLINK_API
int32_t wslink_launcher_set_retry_delays(struct wslink_launcher *launcher,
                                         const uint32_t *milliseconds,
                                         size_t count,
                                         struct wslink_error **err);

/**
 * Sets a callback for the attempts of `wslink_launcher_open`, see `wslink_launch_progress_fn`. `drop` is called as for
 * all callbacks, see `wslink_drop_fn`.
 */
WSLINK_API
int32_t wslink_launcher_on_progress(struct wslink_launcher *launcher,
                                    wslink_launch_progress_fn callback,
                                    void *user,
                                    wslink_drop_fn drop,
                                    struct wslink_error **err);

/**
 * Has the launcher start a server, and waits until it is ready. The keyword arguments of `args` are the members of the
 * request; `application` is the name of what to start. They are taken, as by a call. On success `*launched` belongs to
 * the caller, who frees it.
 *
 * Fails with `WSLINK_ERR_LAUNCHER` and the launcher's own words, `WSLINK_ERR_TIMEOUT`, `WSLINK_ERR_CANCELLED`, or an
 * error of connecting.
 */
WSLINK_API
int32_t wslink_launcher_open(const struct wslink_launcher *launcher,
                             struct wslink_args *args,
                             struct wslink_launched **launched,
                             struct wslink_error **err);

/**
 * Asks for the session with this id. Most launchers do not allow that (`WSLINK_LAUNCHER_GET=1` in their environment
 * does). On success `*launched` belongs to the caller, who frees it.
 */
WSLINK_API
int32_t wslink_launcher_status(const struct wslink_launcher *launcher,
                               const char *id,
                               struct wslink_launched **launched,
                               struct wslink_error **err);

/**
 * Has the launcher end the server of the session with this id. Most launchers do not allow that
 * (`WSLINK_LAUNCHER_DELETE=1` in their environment does); their servers end some time after their last client has left.
 */
WSLINK_API
int32_t wslink_launcher_close(const struct wslink_launcher *launcher,
                              const char *id,
                              struct wslink_error **err);

/**
 * Ends the functions of this launcher that wait on other threads, with `WSLINK_ERR_CANCELLED`. A server whose start was
 * requested may still be started. NULL is ignored.
 */
WSLINK_API
void wslink_launcher_cancel(const struct wslink_launcher *launcher);

/**
 * Frees the description of a session. NULL is ignored. The session itself stays open.
 */
WSLINK_API void wslink_launched_free(struct wslink_launched *launched);

/**
 * The id of the session at the launcher, NUL-terminated; valid as long as `launched`. Empty for NULL, and if the
 * launcher has told none.
 */
WSLINK_API
const char *wslink_launched_id(const struct wslink_launched *launched);

/**
 * Where the server is: a `ws` or `wss` URL, which may hold a token. NUL-terminated; valid as long as `launched`. Empty
 * for NULL.
 */
WSLINK_API
const char *wslink_launched_url(const struct wslink_launched *launched);

/**
 * The whole answer of the launcher, whose root (`wslink_document_root`) is a map. It has the secret of the server, if
 * the launcher tells one. Borrowed: valid as long as `launched`, or longer with a reference. NULL for NULL.
 */
WSLINK_API
const struct wslink_document *wslink_launched_document(const struct wslink_launched *launched);

/**
 * Creates the configuration for a session with the server: that of the launcher, with URL and secret of the server.
 * Headers and credentials are only kept for a server on the launcher's host, and not for one without TLS if the
 * launcher has TLS. For ten seconds after the launcher's answer, a session that finds nobody listening tries again. On success `*config` belongs to the caller.
 */
WSLINK_API
int32_t wslink_config_new_launched(const struct wslink_launched *launched,
                                   struct wslink_config **config,
                                   struct wslink_error **err);

/**
 * Creates a session that is not connected, and starts its I/O thread. The configuration is copied. On
 * success `*session` belongs to the caller, who frees it.
 */
WSLINK_API
int32_t wslink_session_new(const struct wslink_config *config,
                           struct wslink_session **session,
                           struct wslink_error **err);

/**
 * Frees a session at once, in any state, on any thread, also inside its callbacks. Calls in flight complete with
 * `WSLINK_ERR_CLOSED` before this function returns, and it waits for callbacks on other threads. NULL is ignored.
 *
 * After it, no callback runs, and all user data was dropped, with two exceptions:
 * 1. The user data of a callback that calls this function is dropped when that callback returns.
 * 2. The user data of callbacks of the configuration is dropped when the configuration is freed, too.
 *
 * While this function runs, another thread must not begin to use the session, except in the callbacks for which it
 * waits. A function that has already begun on another thread may go on: if it waits, it returns.
 */
WSLINK_API
void wslink_session_free(struct wslink_session *session);

/**
 * Begins to connect and returns at once; the state callback reports the progress. Allowed when the session is
 * idle or closed, and while it waits to reconnect: then the next attempt begins at once.
 */
WSLINK_API int32_t wslink_session_connect(const struct wslink_session *session, struct wslink_error **err);

/**
 * Connects and waits until the session is ready or has failed. The connect timeout of the configuration
 * applies to each attempt (there may be several if `wslink_reconnect_options.at_first` is set). Not on the I/O thread
 * (`WSLINK_ERR_REENTRANT`).
 */
WSLINK_API
int32_t wslink_session_connect_wait(const struct wslink_session *session,
                                    struct wslink_error **err);

/**
 * The current state: one of `WSLINK_STATE_...`; `WSLINK_STATE_CLOSED` for NULL.
 */
WSLINK_API int32_t wslink_session_state(const struct wslink_session *session);

/**
 * Why the session is closed, or, until it is ready again, why it reconnects: returns the code and sets `*err`, like a
 * function that fails. Otherwise, also if the application has closed the session, returns `WSLINK_OK`.
 */
WSLINK_API
int32_t wslink_session_failure(const struct wslink_session *session,
                               struct wslink_error **err);

/**
 * The detected protocol: `WSLINK_PROTOCOL_V1` or `_V2`; 0 before the session was ready for the first time. When a
 * connection ends, the value stays until the next one is ready.
 */
WSLINK_API
int32_t wslink_session_protocol(const struct wslink_session *session);

/**
 * The largest chunk size that a protocol 2 server announced (`maxMsgSize`), in bytes; 0 if it announced none.
 */
WSLINK_API uint64_t wslink_session_max_msg_size(const struct wslink_session *session);

/**
 * Copies the client id that the server has assigned to `buffer`, as `snprintf` does: truncated to `size` and
 * NUL-terminated. Returns the length of the whole id. Empty before the session was ready for the first time. When a
 * connection ends, the id stays until the next one is ready.
 */
WSLINK_API
size_t wslink_session_client_id(const struct wslink_session *session,
                                char *buffer,
                                size_t size);

/**
 * Copies the address of the server or proxy, such as "127.0.0.1:8080", to `buffer`, as `wslink_session_client_id`
 * does. It is that of the last connection, also after its end; empty before the first one.
 */
WSLINK_API
size_t wslink_session_peer_address(const struct wslink_session *session,
                                   char *buffer,
                                   size_t size);

/**
 * Copies the counters of the session to `*stats`.
 */
WSLINK_API
int32_t wslink_session_stats(const struct wslink_session *session,
                             struct wslink_stats *stats,
                             struct wslink_error **err);

/**
 * Begins to close: calls in flight complete with `WSLINK_ERR_CLOSED`, and the closing handshake begins. After
 * `timeout_ms` the connection ends without an answer of the server; 0 does not wait for it. Closing again can shorten
 * this time, not lengthen it. A session that is idle, connecting or waiting to reconnect is closed at once. A closed
 * session stays closed, and this function succeeds.
 */
WSLINK_API
int32_t wslink_session_close(const struct wslink_session *session,
                             uint32_t timeout_ms,
                             struct wslink_error **err);

/**
 * Closes as `wslink_session_close` does, and waits until the session is closed. Also returns `WSLINK_OK` if the server
 * has not answered within `timeout_ms`: the session is then closed without the answer. Not on the I/O thread
 * (`WSLINK_ERR_REENTRANT`).
 */
WSLINK_API
int32_t wslink_session_close_wait(const struct wslink_session *session,
                                  uint32_t timeout_ms,
                                  struct wslink_error **err);

/**
 * Calls a method of the server. `args` may be NULL for no arguments. On success its content is taken, on failure it is
 * unchanged. `options` may be NULL. The completion receives the outcome; `user` is dropped after it, or at once if
 * this function fails. `*call` is the id of the call, for `wslink_session_cancel`; `call` may be NULL. After a failure
 * `*call` has its former value or is 0. The call can end before this function returns, for example by a timeout while
 * long arguments are encoded: this function then succeeds, and the completion receives the failure.
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
 * Calls a method and waits for the outcome. `args` may be NULL for no arguments. On success its content is taken, on
 * failure it is unchanged. On success `*reply` belongs to the caller, who unrefs it. Not on
 * the I/O thread (`WSLINK_ERR_REENTRANT`); allowed inside callbacks of `wslink_session_dispatch`.
 */
WSLINK_API
int32_t wslink_session_call_wait(const struct wslink_session *session,
                                 struct wslink_str method,
                                 struct wslink_args *args,
                                 const struct wslink_call_options *options,
                                 const struct wslink_document **reply,
                                 struct wslink_error **err);

/**
 * Cancels a call: it completes with `WSLINK_ERR_CANCELLED`. False if the call has already ended, or the id is unknown.
 * If its message is still in the send queue, it is removed from the queue, and data that was added by reference is
 * released, perhaps inside this function. If a part of the message was sent, sending stops at the end of the chunk
 * (protocol 2) or of the message (protocol 1), and the data is released then. The server still executes a call that it
 * has received, because wslink has no message to cancel it. Calls that time out end in the same way.
 */
WSLINK_API
bool wslink_session_cancel(const struct wslink_session *session,
                           uint64_t call);

/**
 * Subscribes to a topic, in any state. A subscription outlives the connection. Any topic is allowed, also the
 * empty one. If a topic has several subscriptions, each receives every publication. `options` may be NULL. On success
 * `*subscription` is the id for `wslink_session_unsubscribe`. `user` is dropped after the last callback, or
 * at once if this function fails.
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
 * Ends a subscription. After this function has returned, no callback of the subscription begins, and none is running
 * on another thread. Allowed inside its callback; then `user` is dropped when the callback returns.
 * `WSLINK_ERR_NOT_FOUND` if there is no subscription with this id.
 */
WSLINK_API
int32_t wslink_session_unsubscribe(const struct wslink_session *session,
                                   uint64_t subscription,
                                   struct wslink_error **err);

/**
 * How many publications were delivered to the callback of a subscription, and how many were dropped because the queue
 * was full. Either out-parameter may be NULL.
 */
WSLINK_API
int32_t wslink_session_subscription_counts(const struct wslink_session *session,
                                           uint64_t subscription,
                                           uint64_t *delivered,
                                           uint64_t *dropped,
                                           struct wslink_error **err);

/**
 * Runs the callbacks of queued events on this thread, at most `max_events` (0: all that are in the queue). If the
 * queue is empty, waits up to `timeout_ms` for the first event (0: does not wait, negative: waits without a limit).
 * Returns the number of events, including changes of state for which no callback is set, or a negative code:
 * `WSLINK_ERR_REENTRANT` inside such a callback, `WSLINK_ERR_STATE` if callbacks run on the I/O thread,
 * `WSLINK_ERR_CLOSED` if the session was freed meanwhile, perhaps by one of these callbacks; then it must not be used
 * again.
 */
WSLINK_API
int32_t wslink_session_dispatch(const struct wslink_session *session,
                                uint32_t max_events,
                                int32_t timeout_ms,
                                struct wslink_error **err);

/**
 * A file descriptor that is readable while the queue of `wslink_session_dispatch` is not empty, for `poll`, `epoll`,
 * `QSocketNotifier` and the like. It belongs to the session: do not read from it and do not close it. Returns -1 and
 * sets `*err` on platforms without descriptors; use `wslink_config_on_wakeup` there.
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
/** A view of a NUL-terminated string; for NULL a view of the empty string. */
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
