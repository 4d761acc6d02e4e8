/// @file
/// The options of a session.

#ifndef WSLINK_CONFIG_HPP
#define WSLINK_CONFIG_HPP

#include "callback.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// The state of a session.
enum class state : std::int32_t {
  idle = WSLINK_STATE_IDLE,                 ///< Not connected yet.
  connecting = WSLINK_STATE_CONNECTING,     ///< Connecting: resolving, TCP, TLS, upgrade, hello.
  ready = WSLINK_STATE_READY,               ///< Connected: calls are possible.
  lost = WSLINK_STATE_LOST,                 ///< The connection was lost; reconnecting or closed follows.
  reconnecting = WSLINK_STATE_RECONNECTING, ///< Waiting for the next attempt; session::connect() begins it at once.
  closing = WSLINK_STATE_CLOSING,           ///< The closing handshake is in progress.
  closed = WSLINK_STATE_CLOSED              ///< Closed; may be connected again.
};

/// The generation of the wire protocol.
enum class protocol : std::int32_t {
  automatic = WSLINK_PROTOCOL_AUTO, ///< As an option: detect it. Of a session: not detected yet.
  v1 = WSLINK_PROTOCOL_V1,          ///< JSON text and separate attachments: wslink 0.1 to 1.12.
  v2 = WSLINK_PROTOCOL_V2           ///< msgpack, split into chunks: wslink 2.
};

/// Where callbacks run.
enum class delivery : std::int32_t {
  queued = WSLINK_DELIVERY_QUEUED,      ///< In session::dispatch(). The default.
  io_thread = WSLINK_DELIVERY_IO_THREAD ///< On the I/O thread, immediately. They must be short.
};

/// The level of a line of the log.
enum class log_level : std::int32_t {
  error = WSLINK_LOG_ERROR,     ///< Failures.
  warning = WSLINK_LOG_WARNING, ///< Unexpected events that are not failures.
  info = WSLINK_LOG_INFO,       ///< The beginning and the end of connections.
  debug = WSLINK_LOG_DEBUG      ///< Every step.
};

/// A short English name of a state. Never freed.
inline const char *to_text(state s) noexcept { return wslink_state_text(static_cast<std::int32_t>(s)); }

/// A change of state, and its reason.
struct state_change {
  wslink::state state; ///< The new state.
  error reason;        ///< For state::lost, state::reconnecting, and state::closed unless the application has closed.
  /// For state::reconnecting, and state::connecting after it: the number of the attempt, see
  /// wslink_reconnect_options::attempts. Otherwise 0.
  std::uint32_t attempt = 0;
  std::chrono::milliseconds delay{0}; ///< For state::reconnecting: the time until the attempt.
};

/// When and how often a session reconnects.
struct reconnect_policy {
  std::uint32_t attempts = 0; ///< The maximum number in a row, see wslink_reconnect_options; 0: unlimited.
  /// The backoff before the first attempt, at least 1 ms; it doubles for every further attempt. The actual delay is
  /// random, between half of the backoff and all of it.
  std::chrono::milliseconds first_delay{500};
  std::chrono::milliseconds longest_delay{30000}; ///< The maximum backoff.
  std::chrono::milliseconds total{0};             ///< For all attempts since the connection was lost; zero: unlimited.
  bool at_first = false; ///< Attempts are also made if the first connection fails: the server may not be up yet.
};

/// An attempt to connect that is about to begin, valid during the callback of config::before_attempt. New values
/// stay for the following attempts.
class attempt {
public:
  attempt(const attempt &) = delete;
  attempt &operator=(const attempt &) = delete;

  /// 0 if the application has requested the attempt; otherwise the number of the attempt to reconnect.
  std::uint32_t number() const noexcept { return number_; }
  /// The failure before an attempt to reconnect; no error if the application has requested the attempt.
  const error &reason() const noexcept { return reason_; }
  /// The C attempt, borrowed.
  wslink_attempt *c_ptr() const noexcept { return handle_; }

  /// Sets the secret of the hello. The library wipes its copy when it is not needed any more.
  void secret(std::string_view text, error *err = nullptr) {
    set(err, text, [this](auto *t, auto **e) { return wslink_attempt_set_secret(handle_, t, e); });
  }
  /// Sets the URL, for example another server, or a new token in the query.
  void url(std::string_view text, error *err = nullptr) {
    set(err, text, [this](auto *t, auto **e) { return wslink_attempt_set_url(handle_, t, e); });
  }
  /// Sets a header of the upgrade request. It replaces all headers of this name.
  void header(std::string_view name, std::string_view text, error *err = nullptr) {
    const std::string terminated(name);
    if (name.find('\0') != name.npos)
      return detail::fail(error(code::argument, "the name of a header contains a NUL character"), err);
    set(err, text, [&](auto *t, auto **e) { return wslink_attempt_set_header(handle_, terminated.c_str(), t, e); });
  }

private:
  friend class config;
  attempt(wslink_attempt *handle, std::uint32_t number, const wslink_error *reason)
      : handle_(handle), number_(number), reason_(error::copy_of(reason)) {}

  template <class Setter>
  static void set(error *err, std::string_view text, Setter setter) {
    if (text.find('\0') != text.npos)
      return detail::fail(error(code::argument, "the text of an option contains a NUL character"), err);
    const std::string terminated(text);
    detail::outlet out(err);
    out.succeeded(setter(terminated.c_str(), out.c()));
  }

  wslink_attempt *handle_;
  std::uint32_t number_;
  error reason_;
};

/// The progress of a large message (256 KiB and more): `incoming`, `transfer` (a number), `call` (the call to which an
/// outgoing message belongs, or 0), `bytes` that were transferred, `total` bytes.
using progress = wslink_progress;

/// The options of a session. A session copies the config, which can then be changed, used for other sessions, or
/// destroyed. The setters return the config, so that they can be chained, and fail if the value is invalid. Text must
/// not contain NUL. One thread at a time.
///
/// Callbacks are kept (one allocation) until the config, its copies, and all sessions made of them are destroyed, or
/// have another callback instead: setting a callback again replaces it. They run where delivery() says, unless
/// documented otherwise.
///
/// Beware: `session s(config(url));` declares a function (the most vexing parse); write `session s(url);`, or braces.
class config {
public:
  /// The defaults for a server at a URL: `ws://host:port/ws`, or `wss://` for TLS. Empty after a failure that `err`
  /// received.
  explicit config(std::string_view url, error *err = nullptr) {
    set(err, url, [this](const char *text, wslink_error **e) { return wslink_config_new(text, &handle_, e); });
  }
  /// Leaves `other` empty.
  config(config &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  /// Leaves `other` empty.
  config &operator=(config &&other) noexcept {
    config moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  /// A copy. Callbacks are not copied but shared: several sessions may run them at the same time, and they are
  /// destroyed with the last config or session that shares them.
  config(const config &other) {
    if (!other.handle_)
      return;
    detail::outlet out(nullptr);
    out.succeeded(wslink_config_clone(other.handle_, &handle_, out.c()));
  }
  /// As the copy constructor. Releases the current configuration.
  config &operator=(const config &other) { return *this = config(other); }
  ~config() { wslink_config_free(handle_); }

  /// Takes ownership of a C configuration.
  static config from_c(wslink_config *handle) noexcept { return config(handle, nullptr, 0); }
  /// Passes ownership of the C configuration to the caller.
  wslink_config *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C configuration, borrowed.
  wslink_config *c_ptr() const noexcept { return handle_; }

  /// The URL for the option `--reverse-url` of a server, if this is a config of listener::accept(), or of a process
  /// whose server connects by itself; otherwise empty. It contains a secret token: whoever knows it may connect in the
  /// place of the server.
  std::string reverse_url() const {
    std::string url(wslink_config_reverse_url(handle_, nullptr, 0), '\0');
    wslink_config_reverse_url(handle_, url.data(), url.size() + 1);
    return url;
  }

  /// Sets the secret of the hello. Default: "wslink-secret".
  config &secret(std::string_view text, error *err = nullptr) {
    return set(err, text, [this](auto *t, auto **e) { return wslink_config_set_secret(handle_, t, e); });
  }
  /// Adds a member to the map of the hello, with its value as JSON text.
  config &hello_member(std::string_view name, std::string_view json_text, error *err = nullptr) {
    return set(err, name, json_text,
               [this](auto *n, auto *j, auto **e) { return wslink_config_add_hello_member(handle_, n, j, e); });
  }
  /// Sets the protocol. Default: it is detected.
  config &protocol(wslink::protocol p, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_protocol(handle_, static_cast<std::int32_t>(p), e); });
  }
  /// Adds a header to the upgrade request.
  config &header(std::string_view name, std::string_view text, error *err = nullptr) {
    return set(err, name, text,
               [this](auto *n, auto *t, auto **e) { return wslink_config_add_header(handle_, n, t, e); });
  }
  /// Sets the time for one attempt to connect, from resolving the host name to the reply to the hello. Default: 20 s.
  /// Less than 1 ms counts as 1 ms.
  template <class Rep, class Period>
  config &connect_timeout(std::chrono::duration<Rep, Period> time, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_connect_timeout(handle_, detail::to_ms(time), e); });
  }
  /// Sets the heartbeat: after this time without data from the server, a Ping is sent. After the same time again
  /// without data, the connection is considered lost. While calls are in flight, no Pings are sent, because servers do
  /// not answer during a call; instead the TCP connection is checked, which detects an unreachable server, but not one
  /// that hangs. Zero (default): no heartbeat.
  template <class Rep, class Period>
  config &heartbeat(std::chrono::duration<Rep, Period> time, error *err = nullptr) {
    std::uint32_t ms = time == time.zero() ? 0 : detail::to_ms(time);
    return set(err, [&](auto **e) { return wslink_config_set_heartbeat(handle_, ms, e); });
  }
  /// Makes the session reconnect when the connection is lost. Calls in flight fail with code::connection_lost and are
  /// never repeated, subscriptions stay, and for the server it is a new client. After a refused secret an attempt is
  /// made only if before_attempt() is set.
  config &reconnect(const reconnect_policy &policy = {}, error *err = nullptr) {
    wslink_reconnect_options options = WSLINK_RECONNECT_OPTIONS_INIT;
    options.attempts = policy.attempts;
    options.first_delay_ms = detail::to_ms(policy.first_delay);
    options.longest_delay_ms = detail::to_ms(policy.longest_delay);
    options.total_ms = policy.total == policy.total.zero() ? 0 : detail::to_ms(policy.total);
    options.at_first = policy.at_first;
    return set(err, [&](auto **e) { return wslink_config_set_reconnect(handle_, &options, e); });
  }
  /// Sets a callback that decides after a failure whether another attempt to connect is made (see reconnect()):
  /// `bool(const error& reason, std::uint32_t attempt)` returns true to make attempt number `attempt`, false to give
  /// up. Default: attempts are made after failures for which error::is_retriable() is true. After a refused secret it
  /// is called only if before_attempt() is set; otherwise the session is closed. Runs on the I/O thread, must return
  /// quickly, and must not use the session.
  template <class F>
  config &reconnect_filter(F &&callback, error *err = nullptr) {
    return set_callback(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_set_reconnect_filter(handle_, run_filter<target>, f, detail::destroy<target>, e);
    });
  }
  /// Sets a callback that runs before each attempt to connect, including the first, to renew a secret, a header or a
  /// URL that expires: `void(attempt&)`, or `bool(attempt&)`. If it returns false, the session is closed
  /// (code::cancelled) and may be connected again. With this callback, a session that reconnects (see reconnect()) also
  /// goes on after a refused secret and after the HTTP statuses 401 and 403. The callback then runs before the next
  /// attempt. If it changes nothing, that attempt is not made, and the session is closed with the refusal as its
  /// failure.
  ///
  /// Runs on the I/O thread. No connection is open then, so the callback may take long; its time counts towards the
  /// connect timeout. The destructor of the session waits for the callback, so the callback must not wait for a thread
  /// that may destroy the session.
  template <class F>
  config &before_attempt(F &&callback, error *err = nullptr) {
    return set_callback(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_before_attempt(handle_, run_attempt<target>, f, detail::destroy<target>, e);
    });
  }
  /// Sets the timeout of calls without a timeout of their own (wslink::timeout). Zero (default): calls wait until the
  /// connection ends.
  template <class Rep, class Period>
  config &call_timeout(std::chrono::duration<Rep, Period> time, error *err = nullptr) {
    std::uint32_t ms = time == time.zero() ? 0 : detail::to_ms(time);
    return set(err, [&](auto **e) { return wslink_config_set_call_timeout(handle_, ms, e); });
  }
  /// Sets the largest message that is accepted, in bytes. Default: 1 GiB. See wslink_config_set_max_message_size().
  config &max_message_size(std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_max_message_size(handle_, bytes, e); });
  }
  /// Sets how many messages may be unfinished, that is, some of their chunks are missing, and how many bytes of them
  /// are stored. Default: 64 and 2 GiB. See wslink_config_set_max_unfinished().
  config &max_unfinished(std::size_t count, std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_max_unfinished(handle_, count, bytes, e); });
  }
  /// Sets how many attachments, and how many bytes of them, are kept for further messages that refer to them (protocol
  /// 1). Default: 64 and 32 MiB. See wslink_config_set_attachment_store().
  config &attachment_store(std::size_t count, std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_attachment_store(handle_, count, bytes, e); });
  }
  /// Sets how many bytes of publications the queue of dispatch() may hold. Default: 1 GiB. A single publication may
  /// exceed it while no other publication is in the queue.
  config &queue_bytes(std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_queue_bytes(handle_, bytes, e); });
  }
  /// Sets how many bytes of calls the send queue may hold. Default: 1 GiB.
  config &send_queue_bytes(std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_send_queue_bytes(handle_, bytes, e); });
  }
  /// Sets how many bytes of free receive buffers the pool holds. Default: 160 MiB.
  config &buffer_pool_bytes(std::size_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_buffer_pool_bytes(handle_, bytes, e); });
  }
  /// Sets the largest message that a protocol 1 server accepts, in bytes. Default: 4194303.
  config &v1_upload_limit(std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_v1_upload_limit(handle_, bytes, e); });
  }
  /// Sets TCP_NODELAY: whether small messages are sent without delay. Default: true.
  config &nodelay(bool on, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_nodelay(handle_, on, e); });
  }
  /// Sets an HTTP proxy: `http://user:password@host:port`. Default: no proxy.
  config &proxy(std::string_view url, error *err = nullptr) {
    return set(err, url, [this](auto *u, auto **e) { return wslink_config_set_proxy(handle_, u, e); });
  }
  /// Trusts the certificates in a file: of authorities, of intermediate authorities, or of the server itself. The file
  /// is PEM, where text between the certificates is ignored, or one certificate in DER.
  config &ca_file(std::string_view path, error *err = nullptr) {
    return set(err, path, [this](auto *p, auto **e) { return wslink_config_add_ca_file(handle_, p, e); });
  }
  /// Trusts the certificates in PEM text.
  config &ca_pem(std::string_view pem, error *err = nullptr) {
    return set(err, pem, [this](auto *p, auto **e) { return wslink_config_add_ca_pem(handle_, p, e); });
  }
  /// Sets whether the certificate authorities of the platform are trusted. Default: true.
  config &platform_roots(bool trusted, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_platform_roots(handle_, trusted, e); });
  }
  /// Accepts only the certificate with this SHA-256 fingerprint, whatever its name, dates and issuer are. Further calls
  /// accept further certificates.
  config &certificate_pin(std::string_view fingerprint, error *err = nullptr) {
    return set(err, fingerprint,
               [this](auto *f, auto **e) { return wslink_config_add_certificate_pin(handle_, f, e); });
  }
  /// Accepts any certificate: a man in the middle can read and change everything, including the secret.
  config &danger_accept_any_certificate(bool accept, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_danger_accept_any_certificate(handle_, accept, e); });
  }
  /// Sets the client certificate: a PEM file with its chain, and a PEM file with its key, which must not be encrypted
  /// (PKCS #8 everywhere; OpenSSL also reads PKCS #1 and SEC 1).
  config &client_certificate(std::string_view chain_path, std::string_view key_path, error *err = nullptr) {
    return set(err, chain_path, key_path, [this](auto *chain, auto *key, auto **e) {
      return wslink_config_set_client_certificate(handle_, chain, key, e);
    });
  }
  /// Sets where callbacks run. Default: delivery::queued.
  config &delivery(wslink::delivery where, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_delivery(handle_, static_cast<std::int32_t>(where), e); });
  }

  /// Sets the callback that receives the log, up to this level: `void(log_level, const char* line)`, the line borrowed.
  /// Runs on any thread, and must not use the session. Secrets are never logged.
  template <class F>
  config &log(log_level most, F &&callback, error *err = nullptr) {
    return set_callback(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_set_log(handle_, static_cast<std::int32_t>(most), run_log<target>, f,
                                   detail::destroy<target>, e);
    });
  }
  /// Sets the callback for changes of state: `void(const state_change&)`. At most 64 are queued, see wslink_state_fn.
  template <class F>
  config &on_state(F &&callback, error *err = nullptr) {
    return set_callback(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_on_state(handle_, run_state<target>, f, detail::destroy<target>, e);
    });
  }
  /// As above, but the callback is called only while `object` exists, see wslink::guard: `on_state(this, ...)` in a
  /// QObject.
  template <class Context, class F, class = detail::if_guard<Context>>
  config &on_state(Context &&object, F &&callback, error *err = nullptr) {
    return on_state(detail::only_with(std::forward<Context>(object), std::forward<F>(callback)), err);
  }
  /// Sets the callback for the progress of large messages, in both directions: `void(const progress&)`. While 10000
  /// events are in the queue of dispatch(), reports are left out.
  template <class F>
  config &on_progress(F &&callback, error *err = nullptr) {
    return set_callback(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_on_progress(handle_, run_progress<target>, f, detail::destroy<target>, e);
    });
  }
  /// As above, but the callback is called only while `object` exists, see wslink::guard.
  template <class Context, class F, class = detail::if_guard<Context>>
  config &on_progress(Context &&object, F &&callback, error *err = nullptr) {
    return on_progress(detail::only_with(std::forward<Context>(object), std::forward<F>(callback)), err);
  }
  /// Sets the callback that is called when the queue of dispatch() is no longer empty: `void()`. Runs on any thread,
  /// often the I/O thread: it must only wake the event loop of the application.
  template <class F>
  config &on_wakeup(F &&callback, error *err = nullptr) {
    return set_callback(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_on_wakeup(handle_, run_wakeup<target>, f, detail::destroy<target>, e);
    });
  }

private:
  config(wslink_config *handle, std::nullptr_t, int) noexcept : handle_(handle) {}

  template <class F>
  static void run_log(void *user, std::int32_t level, const char *line) noexcept {
    detail::guarded_alone([&] { (*static_cast<F *>(user))(static_cast<log_level>(level), line); });
  }
  template <class F>
  static bool run_filter(void *user, const wslink_error *reason, std::uint32_t attempt) noexcept {
    bool again = false;
    detail::guarded_alone([&] { again = (*static_cast<F *>(user))(error::copy_of(reason), attempt); });
    return again;
  }
  template <class F>
  static bool run_attempt(void *user, wslink_attempt *handle, std::uint32_t number,
                          const wslink_error *reason) noexcept {
    bool wanted = false;
    detail::guarded_alone([&] {
      attempt next(handle, number, reason);
      if constexpr (std::is_void_v<std::invoke_result_t<F &, attempt &>>) {
        (*static_cast<F *>(user))(next);
        wanted = true;
      } else {
        wanted = (*static_cast<F *>(user))(next);
      }
    });
    return wanted;
  }
  template <class F>
  static void run_state(void *user, const wslink_state_change *now) noexcept {
    detail::guarded([&] {
      const state_change change{static_cast<wslink::state>(now->state), error::copy_of(now->reason), now->attempt,
                                std::chrono::milliseconds(now->delay_ms)};
      (*static_cast<F *>(user))(change);
    });
  }
  template <class F>
  static void run_progress(void *user, const wslink_progress *now) noexcept {
    detail::guarded([&] { (*static_cast<F *>(user))(*now); });
  }
  template <class F>
  static void run_wakeup(void *user) noexcept {
    detail::guarded_alone([&] { (*static_cast<F *>(user))(); });
  }

  template <class Setter>
  config &set(error *err, Setter setter) {
    detail::outlet out(err);
    out.succeeded(setter(out.c()));
    return *this;
  }
  template <class Setter>
  config &set(error *err, std::string_view text, Setter setter) {
    if (!check_text(text, err))
      return *this;
    const std::string terminated(text);
    return set(err, [&](wslink_error **e) { return setter(terminated.c_str(), e); });
  }
  template <class Setter>
  config &set(error *err, std::string_view first, std::string_view second, Setter setter) {
    if (!check_text(second, err))
      return *this;
    const std::string terminated(second);
    return set(err, first, [&](const char *text, wslink_error **e) { return setter(text, terminated.c_str(), e); });
  }
  static bool check_text(std::string_view text, error *err) {
    if (text.find('\0') == text.npos)
      return true;
    detail::fail(error(code::argument, "the text of an option contains a NUL character"), err);
    return false;
  }
  template <class F, class Register>
  config &set_callback(F &&callback, error *err, Register reg) {
    // The C function takes ownership, also if it fails.
    auto *kept = new std::decay_t<F>(std::forward<F>(callback));
    return set(err, [&](wslink_error **e) { return reg(kept, e); });
  }

  wslink_config *handle_ = nullptr;
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_CONFIG_HPP
