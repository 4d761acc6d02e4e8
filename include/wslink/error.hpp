/// @file
/// Errors of the C++ wrapper: codes, the error object, the exception, and the two error styles.

#ifndef WSLINK_ERROR_HPP
#define WSLINK_ERROR_HPP

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../wslink.h"

/// 1 if this translation unit is compiled with exceptions, otherwise 0.
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define WSLINK_CPP_EXCEPTIONS 1
#else
#define WSLINK_CPP_EXCEPTIONS 0
#endif

/// The inline namespace of everything. It has another name without exceptions, because inline
/// functions differ then, and a program may mix translation units of both kinds.
#if WSLINK_CPP_EXCEPTIONS
#define WSLINK_CPP_ABI cpp0
#else
#define WSLINK_CPP_ABI cpp0_noexcept
#endif

/// For variables and types that all shared libraries of a program must share, even with `-fvisibility=hidden`.
#if defined(__GNUC__) && !defined(_WIN32)
#define WSLINK_CPP_VISIBLE __attribute__((visibility("default")))
#else
#define WSLINK_CPP_VISIBLE
#endif

/// The C++ interface of the library.
///
/// **Errors, in two styles with one signature.** Functions that can fail have a last parameter `error* err = nullptr`.
/// Without it a failure is thrown as wslink::exception. With it nothing is thrown: `*err` receives the failure, or is
/// cleared on success, and the function returns an empty object, 0 or false. If exceptions are disabled
/// (`-fno-exceptions`), a failure without an `err` is passed to the hook of set_failure_hook(), and then the program is
/// aborted. There are three exceptions: calls such as `session.call("m", 1, &err)` take the `error*` among their
/// arguments, an args object keeps a failure until the call, and the copy constructor of config has no `err`.
///
/// **Ownership.** config, session, subscription, listener, document, buffer, args, error and json_text are owners and
/// can be moved, not copied (config can be copied, too). document and buffer have a reference count; `share()` adds a
/// reference. value, bytes_view and ext_view are views, valid as long as the document. Owners have `from_c` (takes
/// ownership of a C handle), `release` (passes it to the caller) and `c_ptr` (borrows it).
///
/// **Threads.** Any thread may use a session or a listener, also in callbacks. Callbacks run in session::dispatch(), on
/// the thread that calls it, or on the I/O thread (config::delivery()). Documents, buffers and errors are immutable:
/// any thread may read them. A config or args object is used by one thread at a time.
///
/// **Exceptions in callbacks** never propagate into the C library. See set_exception_hook().
namespace wslink {
inline namespace WSLINK_CPP_ABI {

class value;

/// The kind of an error: the codes of the C header, which documents them in detail.
enum class code : std::int32_t {
  ok = WSLINK_OK,                               ///< No error.
  argument = WSLINK_ERR_ARGUMENT,               ///< An argument is invalid; the message says why.
  null = WSLINK_ERR_NULL,                       ///< An object is empty, for example because it was moved from.
  utf8 = WSLINK_ERR_UTF8,                       ///< Text is not valid UTF-8.
  json = WSLINK_ERR_JSON,                       ///< Text is not valid JSON.
  state = WSLINK_ERR_STATE,                     ///< The session is not in a state that allows this.
  reentrant = WSLINK_ERR_REENTRANT,             ///< Would wait for its own thread: see WSLINK_ERR_REENTRANT.
  closed = WSLINK_ERR_CLOSED,                   ///< The session is closed.
  attachment = WSLINK_ERR_ATTACHMENT,           ///< JSON text names an attachment that was not added.
  unsupported = WSLINK_ERR_UNSUPPORTED,         ///< The negotiated protocol cannot carry the value.
  version = WSLINK_ERR_VERSION,                 ///< Header and library are not compatible.
  panic = WSLINK_ERR_PANIC,                     ///< A panic inside the library was caught; please report it.
  not_found = WSLINK_ERR_NOT_FOUND,             ///< No such value, key or index.
  kind = WSLINK_ERR_KIND,                       ///< The value is of another kind than requested.
  system = WSLINK_ERR_SYSTEM,                   ///< The operating system refused something.
  resolve = WSLINK_ERR_RESOLVE,                 ///< The host name has no address.
  connect = WSLINK_ERR_CONNECT,                 ///< No TCP connection.
  proxy = WSLINK_ERR_PROXY,                     ///< The HTTP proxy refused or failed.
  tls = WSLINK_ERR_TLS,                         ///< The TLS handshake failed.
  upgrade = WSLINK_ERR_UPGRADE,                 ///< The server refused the WebSocket upgrade.
  hello = WSLINK_ERR_HELLO,                     ///< The server sent no valid reply to the hello.
  auth = WSLINK_ERR_AUTH,                       ///< The server refused the secret.
  mismatch = WSLINK_ERR_MISMATCH,               ///< The server speaks another protocol than demanded.
  launcher = WSLINK_ERR_LAUNCHER,               ///< The launcher refused, failed, or is no launcher.
  connection_lost = WSLINK_ERR_CONNECTION_LOST, ///< The connection ended; a call may have been executed.
  timeout = WSLINK_ERR_TIMEOUT,                 ///< The deadline passed.
  cancelled = WSLINK_ERR_CANCELLED,             ///< Cancelled by the application.
  protocol = WSLINK_ERR_PROTOCOL,               ///< The peer broke the protocol.
  limit = WSLINK_ERR_LIMIT,                     ///< A limit was exceeded; the message names it.
  remote = WSLINK_ERR_REMOTE                    ///< The server replied with an error; see error::remote_code().
};

/// The step that failed.
enum class stage : std::int32_t {
  local = WSLINK_STAGE_LOCAL,      ///< Outside of a connection: arguments, state.
  resolve = WSLINK_STAGE_RESOLVE,  ///< Looking up the host name.
  connect = WSLINK_STAGE_CONNECT,  ///< The TCP connection.
  proxy = WSLINK_STAGE_PROXY,      ///< The `CONNECT` to the proxy.
  tls = WSLINK_STAGE_TLS,          ///< The TLS handshake.
  upgrade = WSLINK_STAGE_UPGRADE,  ///< The WebSocket upgrade.
  hello = WSLINK_STAGE_HELLO,      ///< Protocol detection and hello.
  session = WSLINK_STAGE_SESSION,  ///< While the session was ready; not about one call.
  call = WSLINK_STAGE_CALL,        ///< Concerns one call.
  launcher = WSLINK_STAGE_LAUNCHER ///< The request to a launcher.
};

/// A short English name, such as "connection lost". Never freed.
inline const char *to_text(code c) noexcept { return wslink_code_text(static_cast<std::int32_t>(c)); }
/// A short English name of a stage. Never freed.
inline const char *to_text(stage s) noexcept { return wslink_stage_text(static_cast<std::int32_t>(s)); }

/// An error, or no error (then it converts to false). Any thread may read it.
class error {
public:
  /// No error.
  error() noexcept = default;
  /// An error of the application or of this header: a code and a sentence for a person.
  error(wslink::code c, std::string message) : local_code_(c), local_message_(std::move(message)) {}
  /// Leaves `other` without error.
  error(error &&other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), local_code_(std::exchange(other.local_code_, wslink::code::ok)),
        local_message_(std::move(other.local_message_)) {}
  /// Leaves `other` without error.
  error &operator=(error &&other) noexcept {
    error moved(std::move(other));
    std::swap(handle_, moved.handle_);
    std::swap(local_code_, moved.local_code_);
    local_message_.swap(moved.local_message_);
    return *this;
  }
  error(const error &) = delete;
  error &operator=(const error &) = delete;
  // Most errors have no handle, so the call is avoided, although C accepts null.
  ~error() {
    if (handle_)
      wslink_error_free(handle_);
  }

  /// Takes ownership of a C error; NULL is no error.
  static error from_c(wslink_error *handle) noexcept {
    error taken;
    taken.handle_ = handle;
    return taken;
  }
  /// A copy of a borrowed C error; NULL is no error.
  static error copy_of(const wslink_error *handle) noexcept { return from_c(wslink_error_clone(handle)); }
  /// Passes ownership of the C error to the caller; NULL if there is no error, or if it is not a C error.
  wslink_error *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C error, borrowed; NULL as for release().
  const wslink_error *c_ptr() const noexcept { return handle_; }

  /// Whether there is an error.
  explicit operator bool() const noexcept { return handle_ || local_code_ != wslink::code::ok; }
  /// The kind of error; code::ok if there is none.
  wslink::code code() const noexcept {
    return handle_ ? static_cast<wslink::code>(wslink_error_code(handle_)) : local_code_;
  }
  /// The step that failed.
  wslink::stage stage() const noexcept {
    return handle_ ? static_cast<wslink::stage>(wslink_error_stage(handle_)) : wslink::stage::local;
  }
  /// A sentence for a person. NUL-terminated; valid as long as the error. Never contains the secret.
  const char *message() const noexcept { return handle_ ? wslink_error_message(handle_) : local_message_.c_str(); }
  /// The HTTP status with which the server or a proxy refused, or 0.
  int http_status() const noexcept { return handle_ ? wslink_error_http_status(handle_) : 0; }
  /// Whether the same attempt may succeed later without a change by the application.
  bool is_retriable() const noexcept { return handle_ && wslink_error_is_retriable(handle_); }
  /// The number of the server's error, 0 if that is not an integer (see remote_value()); std::nullopt if the error did
  /// not come from the server.
  std::optional<std::int64_t> remote_code() const noexcept {
    std::int64_t number = 0;
    if (!handle_ || !wslink_error_remote_code(handle_, &number))
      return std::nullopt;
    return number;
  }
  /// The message of the server's error; if it has none, the beginning of the error as JSON text; empty if the error did
  /// not come from the server. Valid as long as the error.
  const char *remote_message() const noexcept { return handle_ ? wslink_error_remote_message(handle_) : ""; }
  /// The data of the server's error: for an exception in the method a map with `method`, `exception` and `trace`.
  /// A view, valid as long as the error; empty if there is no data.
  value remote_data() const noexcept;
  /// The whole error as the server sent it: wslink sends a map with `code`, `message` and mostly `data`, other servers
  /// may send any value. A view, valid as long as the error; empty if the error did not come from the server.
  value remote_value() const noexcept;
  /// An independent copy.
  error clone() const { return handle_ ? copy_of(handle_) : error(local_code_, local_message_); }
  /// Resets to no error.
  void clear() noexcept { *this = error(); }

private:
  wslink_error *handle_ = nullptr;
  wslink::code local_code_ = wslink::code::ok;
  std::string local_message_;
};

/// The exception that contains an error. Copies share the error.
class WSLINK_CPP_VISIBLE exception : public std::exception {
public:
  /// Takes ownership of the error.
  explicit exception(error &&why) : why_(std::make_shared<const error>(std::move(why))) {}
  /// The message of the error.
  const char *what() const noexcept override { return why_->message(); }
  /// The error; valid as long as this exception or a copy of it.
  const error &why() const noexcept { return *why_; }
  /// The kind of error.
  wslink::code code() const noexcept { return why_->code(); }

private:
  std::shared_ptr<const error> why_;
};

/// Receives a failure without an `err` in a program without exceptions, before the program is aborted.
using failure_hook = void (*)(const error &why);
/// Receives an exception that left a callback. Runs on the thread of the callback.
using exception_hook = void (*)(std::exception_ptr thrown);

/// Parts of the implementation; not for use.
namespace detail {

WSLINK_CPP_VISIBLE inline std::atomic<failure_hook> on_failure{nullptr};
WSLINK_CPP_VISIBLE inline std::atomic<exception_hook> on_exception{nullptr};

/// Reports a failure in the style that the caller has chosen.
inline void fail(error &&why, error *err) {
  if (err) {
    *err = std::move(why);
    return;
  }
#if WSLINK_CPP_EXCEPTIONS
  throw exception(std::move(why));
#else
  if (failure_hook hook = on_failure.load())
    hook(why);
  std::abort();
#endif
}

/// The `err` parameter of a C function. Converts what the function stores there to the error style of the caller.
class outlet {
public:
  explicit outlet(error *err) noexcept : err_(err) {}
  outlet(const outlet &) = delete;
  outlet &operator=(const outlet &) = delete;
  ~outlet() {
    if (raw_)
      wslink_error_free(raw_);
  }
  wslink_error **c() noexcept { return &raw_; }
  /// Checks the result of a C function, and reports a failure. True if the function succeeded.
  bool succeeded(std::int32_t result) {
    if (result >= 0) {
      if (err_)
        err_->clear();
      return true;
    }
    report(result);
    return false;
  }
  /// Ignores the failure of a C function.
  std::int32_t ignore() noexcept {
    error::from_c(std::exchange(raw_, nullptr));
    return 0;
  }

private:
  void report(std::int32_t result) {
    error why = error::from_c(std::exchange(raw_, nullptr));
    if (!why)
      why = error(static_cast<code>(result), wslink_code_text(result));
    fail(std::move(why), err_);
  }

  wslink_error *raw_ = nullptr;
  error *err_;
};

inline wslink_str view_of(std::string_view text) noexcept { return wslink_str{text.data(), text.size()}; }
inline std::string_view view_of(wslink_str text) noexcept {
  return text.len ? std::string_view(text.ptr, text.len) : std::string_view();
}

} // namespace detail

/// Sets the hook for failures without an `err` if exceptions are disabled. It can print or log the failure; the
/// program is aborted when it returns. Returns the former hook. Any thread.
inline failure_hook set_failure_hook(failure_hook hook) noexcept { return detail::on_failure.exchange(hook); }

/// Sets the hook for exceptions that leave a callback; nullptr for the default. Returns the former hook. Any thread.
///
/// The default: if the callback runs inside session::dispatch(), that dispatch() runs the other events and then
/// rethrows the exception. If several callbacks throw, each of the next calls of dispatch() rethrows one of the
/// exceptions before it runs any event; exceptions that are still stored when the session ends are dropped. Outside of
/// dispatch() - on the I/O thread, in the destructor of the session, in log and wakeup callbacks, in the release of
/// memory that was passed by reference - the program ends by std::terminate, as for an exception that leaves a thread.
///
/// On Windows each DLL has its own hooks, and dispatch() rethrows only exceptions of callbacks of its own DLL. On other
/// platforms this applies to a library that was loaded by dlopen(), if the program does not export its symbols
/// (`-rdynamic`).
inline exception_hook set_exception_hook(exception_hook hook) noexcept { return detail::on_exception.exchange(hook); }

/// Fails with code::version if this header is not compatible with the loaded library.
inline bool check_version(error *err = nullptr) {
  detail::outlet out(err);
  std::int32_t result = wslink_check_version(WSLINK_VERSION_NUMBER);
  return out.succeeded(result);
}

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_ERROR_HPP
