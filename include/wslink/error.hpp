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

/// The inline namespace that holds everything. It has another name without exceptions, because inline
/// functions differ then: a program may mix translation units of both kinds.
#if WSLINK_CPP_EXCEPTIONS
#define WSLINK_CPP_ABI cpp0
#else
#define WSLINK_CPP_ABI cpp0_noexcept
#endif

/// For what all parts of a program must share, shared libraries compiled with `-fvisibility=hidden` too.
#if defined(__GNUC__) && !defined(_WIN32)
#define WSLINK_CPP_VISIBLE __attribute__((visibility("default")))
#else
#define WSLINK_CPP_VISIBLE
#endif

/// The C++ face of the library.
///
/// **Errors, in two styles with one signature.** Every function that can fail has a last parameter
/// `error* err = nullptr`. Without it a failure is thrown as wslink::exception; with it nothing is thrown: `*err`
/// receives the failure, or is cleared on success, and the function returns an empty object, 0 or false. Where
/// exceptions are switched off (`-fno-exceptions`), a failure that nobody takes goes to the hook of
/// set_failure_hook(), and the program is aborted.
///
/// **Ownership.** config, session, subscription, document, buffer, args, error and json_text own what they stand
/// for and can be moved, not copied; `share()` makes a further owner where the library counts owners. value,
/// bytes_view and ext_view are views, valid as long as the document. Owners have `from_c` (take ownership of a C
/// handle), `release` (give it up) and `c_ptr` (borrow it).
///
/// **Threads.** Any thread may use a session, also in callbacks. Callbacks run in session::dispatch(), on the
/// thread that calls it, or on the I/O thread (config::delivery()). Documents, buffers and errors are immutable:
/// any thread may read them. A config or args object is used by one thread at a time.
///
/// **Exceptions in callbacks** never reach the C library. See set_exception_hook().
namespace wslink {
inline namespace WSLINK_CPP_ABI {

class value;

/// What went wrong: the codes of the C header, whose comments say what each of them means.
enum class code : std::int32_t {
  ok = WSLINK_OK,                               ///< No error.
  argument = WSLINK_ERR_ARGUMENT,               ///< An argument is not acceptable; the message says why.
  null = WSLINK_ERR_NULL,                       ///< An object is empty, for example because it was moved from.
  utf8 = WSLINK_ERR_UTF8,                       ///< Text is not valid UTF-8.
  json = WSLINK_ERR_JSON,                       ///< Text is not valid JSON.
  state = WSLINK_ERR_STATE,                     ///< The session is not in a state that allows this.
  reentrant = WSLINK_ERR_REENTRANT,             ///< Would wait for itself: inside a callback, on the I/O thread.
  closed = WSLINK_ERR_CLOSED,                   ///< The session is closed.
  attachment = WSLINK_ERR_ATTACHMENT,           ///< JSON text names an attachment that was not added.
  unsupported = WSLINK_ERR_UNSUPPORTED,         ///< The negotiated protocol cannot carry the value.
  version = WSLINK_ERR_VERSION,                 ///< Header and library do not fit together.
  panic = WSLINK_ERR_PANIC,                     ///< A defect of the library, stopped at its border.
  not_found = WSLINK_ERR_NOT_FOUND,             ///< No such value, key or index.
  kind = WSLINK_ERR_KIND,                       ///< The value is of another kind than the one asked for.
  system = WSLINK_ERR_SYSTEM,                   ///< The operating system refused something.
  resolve = WSLINK_ERR_RESOLVE,                 ///< The host name has no address.
  connect = WSLINK_ERR_CONNECT,                 ///< No TCP connection.
  proxy = WSLINK_ERR_PROXY,                     ///< The HTTP proxy refused or failed.
  tls = WSLINK_ERR_TLS,                         ///< TLS failed.
  upgrade = WSLINK_ERR_UPGRADE,                 ///< The server refused the WebSocket upgrade.
  hello = WSLINK_ERR_HELLO,                     ///< The hello got no usable answer.
  auth = WSLINK_ERR_AUTH,                       ///< The server refused the secret.
  mismatch = WSLINK_ERR_MISMATCH,               ///< The server speaks the other protocol.
  connection_lost = WSLINK_ERR_CONNECTION_LOST, ///< The connection ended; a call may have been executed.
  timeout = WSLINK_ERR_TIMEOUT,                 ///< The deadline passed.
  cancelled = WSLINK_ERR_CANCELLED,             ///< Cancelled by the application.
  protocol = WSLINK_ERR_PROTOCOL,               ///< The peer broke the protocol.
  limit = WSLINK_ERR_LIMIT,                     ///< A configured bound was hit; the message names it.
  remote = WSLINK_ERR_REMOTE                    ///< The server answered with an error; see error::remote_code().
};

/// Where it went wrong.
enum class stage : std::int32_t {
  local = WSLINK_STAGE_LOCAL,     ///< Not part of a connection: arguments, state.
  resolve = WSLINK_STAGE_RESOLVE, ///< Looking up the host name.
  connect = WSLINK_STAGE_CONNECT, ///< The TCP connection.
  proxy = WSLINK_STAGE_PROXY,     ///< The `CONNECT` to the proxy.
  tls = WSLINK_STAGE_TLS,         ///< The TLS handshake.
  upgrade = WSLINK_STAGE_UPGRADE, ///< The WebSocket upgrade.
  hello = WSLINK_STAGE_HELLO,     ///< Protocol detection and hello.
  session = WSLINK_STAGE_SESSION, ///< A ready session.
  call = WSLINK_STAGE_CALL        ///< One call.
};

/// A short English name, such as "connection lost". Never freed.
inline const char *to_text(code c) noexcept { return wslink_code_text(static_cast<std::int32_t>(c)); }
/// A short English name of a stage. Never freed.
inline const char *to_text(stage s) noexcept { return wslink_stage_text(static_cast<std::int32_t>(s)); }

/// What went wrong, or nothing (then it is false). Owns what it tells; any thread may read it.
class error {
public:
  /// No error.
  error() noexcept = default;
  /// An error found by the application or by this header: a code and a sentence for a person.
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
  // C takes null as well, but most have no handle, and then there is nothing to call.
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
  /// A copy of an error that is borrowed; NULL is no error.
  static error copy_of(const wslink_error *handle) noexcept { return from_c(wslink_error_clone(handle)); }
  /// Gives the C error up; NULL if there is no error or this header made it.
  wslink_error *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C error, borrowed; NULL as for release().
  const wslink_error *c_ptr() const noexcept { return handle_; }

  /// Whether there is an error.
  explicit operator bool() const noexcept { return handle_ || local_code_ != wslink::code::ok; }
  /// What kind of error; code::ok if there is none.
  wslink::code code() const noexcept {
    return handle_ ? static_cast<wslink::code>(wslink_error_code(handle_)) : local_code_;
  }
  /// Where it happened.
  wslink::stage stage() const noexcept {
    return handle_ ? static_cast<wslink::stage>(wslink_error_stage(handle_)) : wslink::stage::local;
  }
  /// A sentence for a person. NUL-terminated; lives as long as the error. Never contains the secret.
  const char *message() const noexcept { return handle_ ? wslink_error_message(handle_) : local_message_.c_str(); }
  /// The HTTP status with which the server or a proxy refused, or 0.
  int http_status() const noexcept { return handle_ ? wslink_error_http_status(handle_) : 0; }
  /// Whether the same attempt may succeed later without a change by the application.
  bool is_retriable() const noexcept { return handle_ && wslink_error_is_retriable(handle_); }
  /// The number that the server gave its error; nothing if it is no error of the server.
  std::optional<std::int64_t> remote_code() const noexcept {
    std::int64_t number = 0;
    if (!handle_ || !wslink_error_remote_code(handle_, &number))
      return std::nullopt;
    return number;
  }
  /// The server's words; empty if it is no error of the server. Lives as long as the error.
  const char *remote_message() const noexcept { return handle_ ? wslink_error_remote_message(handle_) : ""; }
  /// What the server sent along: for an exception in the method a map with `method`, `exception` and `trace`.
  /// A view that lives as long as the error; of nothing if there is none.
  value remote_data() const noexcept;
  /// A copy that lives on its own.
  error clone() const { return handle_ ? copy_of(handle_) : error(local_code_, local_message_); }
  /// Back to no error.
  void clear() noexcept { *this = error(); }

private:
  wslink_error *handle_ = nullptr;
  wslink::code local_code_ = wslink::code::ok;
  std::string local_message_;
};

/// An error as it is thrown. Copies share the error.
class WSLINK_CPP_VISIBLE exception : public std::exception {
public:
  /// Takes the error over.
  explicit exception(error &&why) : why_(std::make_shared<const error>(std::move(why))) {}
  /// The sentence of the error.
  const char *what() const noexcept override { return why_->message(); }
  /// The whole error; lives as long as this or a copy.
  const error &why() const noexcept { return *why_; }
  /// What kind of error.
  wslink::code code() const noexcept { return why_->code(); }

private:
  std::shared_ptr<const error> why_;
};

/// Receives a failure that nobody takes in a program without exceptions, before the program is aborted.
using failure_hook = void (*)(const error &why);
/// Receives an exception that left a callback. Runs on the thread of the callback.
using exception_hook = void (*)(std::exception_ptr thrown);

/// Parts of the implementation; not for use.
namespace detail {

WSLINK_CPP_VISIBLE inline std::atomic<failure_hook> on_failure{nullptr};
WSLINK_CPP_VISIBLE inline std::atomic<exception_hook> on_exception{nullptr};

/// Hands a failure to the caller in the style that it chose.
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

/// The `err` parameter of a C function, and what becomes of it.
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
  /// Reports what a C function returned; true if it succeeded.
  bool check(std::int32_t result) {
    if (result >= 0) {
      if (err_)
        err_->clear();
      return true;
    }
    report(result);
    return false;
  }
  /// Gives up what a C function reported: it is no failure here.
  std::int32_t forgive() noexcept {
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

/// Sets what receives a failure that nobody takes where exceptions are switched off: it may say or log it; the
/// program is aborted when it returns. Returns the hook that was set before. Any thread.
inline failure_hook set_failure_hook(failure_hook hook) noexcept { return detail::on_failure.exchange(hook); }

/// Sets what receives exceptions that leave a callback; nullptr for the default. Returns the hook that was set
/// before. Any thread.
///
/// The default: an exception that left a callback inside session::dispatch() is rethrown by that dispatch()
/// after it ran the other events; when several callbacks threw, the next calls of dispatch() rethrow the others,
/// one each, before they run anything (what still waits when the session ends is given up). Where no dispatch()
/// is there to rethrow it - on the I/O thread, in the destructor of the session, in log and wakeup callbacks, in
/// the release of lent memory - it ends the program by std::terminate, as an exception does that leaves a thread.
///
/// On Windows each DLL has hooks of its own, and dispatch() rethrows what callbacks of its own DLL threw. The same
/// holds elsewhere for a library that was loaded by dlopen(), if the program does not export its symbols (`-rdynamic`).
inline exception_hook set_exception_hook(exception_hook hook) noexcept { return detail::on_exception.exchange(hook); }

/// Fails with code::version if the library that was loaded is not one that this header can be used with.
inline bool check_version(error *err = nullptr) {
  detail::outlet out(err);
  std::int32_t result = wslink_check_version(WSLINK_VERSION_NUMBER);
  return out.check(result);
}

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_ERROR_HPP
