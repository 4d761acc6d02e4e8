/// @file
/// The options of a session.

#ifndef WSLINK_CONFIG_HPP
#define WSLINK_CONFIG_HPP

#include "callback.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// Where a session is.
enum class state : std::int32_t {
  idle = WSLINK_STATE_IDLE,             ///< Not asked to connect yet.
  connecting = WSLINK_STATE_CONNECTING, ///< On the way: resolving, connecting, TLS, upgrade, hello.
  ready = WSLINK_STATE_READY,           ///< Open: calls are possible.
  lost = WSLINK_STATE_LOST, ///< The connection ended without being asked to; reconnecting or closed follows.
  reconnecting = WSLINK_STATE_RECONNECTING, ///< Waiting for the next attempt; session::connect() begins it at once.
  closing = WSLINK_STATE_CLOSING,           ///< Closing in agreement with the server.
  closed = WSLINK_STATE_CLOSED              ///< Over; it may be connected again.
};

/// The generation of the wire protocol.
enum class protocol : std::int32_t {
  automatic = WSLINK_PROTOCOL_AUTO, ///< Find out; of a session: not known yet.
  v1 = WSLINK_PROTOCOL_V1,          ///< JSON text and separate attachments: wslink 0.1 to 1.12.
  v2 = WSLINK_PROTOCOL_V2           ///< msgpack in chunks: wslink 2.
};

/// Where callbacks run.
enum class delivery : std::int32_t {
  queued = WSLINK_DELIVERY_QUEUED,      ///< In session::dispatch(). The default.
  io_thread = WSLINK_DELIVERY_IO_THREAD ///< On the I/O thread, at once. They must be short.
};

/// How important a line of the log is.
enum class log_level : std::int32_t {
  error = WSLINK_LOG_ERROR,     ///< Something failed.
  warning = WSLINK_LOG_WARNING, ///< Something is odd.
  info = WSLINK_LOG_INFO,       ///< Connections come and go.
  debug = WSLINK_LOG_DEBUG      ///< Every step.
};

/// A short English name of a state. Never freed.
inline const char *to_text(state s) noexcept { return wslink_state_text(static_cast<std::int32_t>(s)); }

/// A state that was entered, and why.
struct state_change {
  wslink::state state; ///< The state.
  error reason;        ///< For state::lost, state::reconnecting, and a state::closed that was not asked for.
  /// For state::reconnecting, and state::connecting after it: the number of the attempt, counted from the last time
  /// that the session was ready. Otherwise 0.
  std::uint32_t attempt = 0;
  std::chrono::milliseconds delay{0}; ///< For state::reconnecting: how long until that attempt.
};

/// When a session connects again by itself.
struct reconnect_policy {
  std::uint32_t attempts = 0; ///< In a row, from one loss to the next ready session; 0: without end.
  /// Before the first attempt, at least 1 ms; doubled with every further one. What is really waited is chosen by chance
  /// between half of it and all of it.
  std::chrono::milliseconds first_delay{500};
  std::chrono::milliseconds longest_delay{30000}; ///< The delay grows to this.
  std::chrono::milliseconds total{0};             ///< For all attempts since the loss; zero: without end.
  bool at_first = false; ///< Also if the very first connection fails: the server need not be up yet.
};

/// How far a large message (256 KiB and more) is: `incoming`, `transfer` (tells transfers apart), `call` (to which an
/// outgoing message belongs, or 0), `bytes` so far, `total` bytes.
using progress = wslink_progress;

/// The options of a session; a session copies them, so that they can be changed, used for more sessions, or go.
/// The setters return the config, so that they can be chained, and fail if the value is not acceptable. Text must
/// not contain NUL. One thread at a time.
///
/// Callbacks are kept (one allocation) until the config and all sessions made of it are gone. They run where
/// callbacks run if nothing else is said.
class config {
public:
  /// The defaults for a server at a URL: `ws://host:port/ws`, or `wss://` for TLS. After a failure that was taken by
  /// `err` it is empty.
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
  config(const config &) = delete;
  config &operator=(const config &) = delete;
  ~config() { wslink_config_free(handle_); }

  /// Takes ownership of a C configuration.
  static config from_c(wslink_config *handle) noexcept { return config(handle, nullptr, 0); }
  /// Gives the C configuration up.
  wslink_config *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C configuration, borrowed.
  wslink_config *c_ptr() const noexcept { return handle_; }

  /// The secret of the hello; "wslink-secret" if not set.
  config &secret(std::string_view text, error *err = nullptr) {
    return set(err, text, [this](auto *t, auto **e) { return wslink_config_set_secret(handle_, t, e); });
  }
  /// A further member of the hello's map, its value as JSON text.
  config &hello_member(std::string_view name, std::string_view json_text, error *err = nullptr) {
    return set(err, name, json_text,
               [this](auto *n, auto *j, auto **e) { return wslink_config_add_hello_member(handle_, n, j, e); });
  }
  /// Which protocol to speak; found out if not set.
  config &protocol(wslink::protocol p, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_protocol(handle_, static_cast<std::int32_t>(p), e); });
  }
  /// Adds a header to the upgrade request.
  config &header(std::string_view name, std::string_view text, error *err = nullptr) {
    return set(err, name, text,
               [this](auto *n, auto *t, auto **e) { return wslink_config_add_header(handle_, n, t, e); });
  }
  /// Time for everything from the host name to the reply to the hello; 20 s if not set.
  template <class Rep, class Period>
  config &connect_timeout(std::chrono::duration<Rep, Period> time, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_connect_timeout(handle_, detail::to_ms(time), e); });
  }
  /// Ping when nothing was heard for this time, and give up when nothing is heard for as long again. Suspended while
  /// calls are in flight, because servers do not answer then; TCP is asked instead, which finds a server that cannot
  /// be reached, not one that stands still. Zero (default): never.
  template <class Rep, class Period>
  config &heartbeat(std::chrono::duration<Rep, Period> time, error *err = nullptr) {
    std::uint32_t ms = time == time.zero() ? 0 : detail::to_ms(time);
    return set(err, [&](auto **e) { return wslink_config_set_heartbeat(handle_, ms, e); });
  }
  /// Connect again by itself when the connection is lost: calls in flight fail as code::connection_lost and are never
  /// repeated, subscriptions stay, the server sees a new client. A refused secret is never tried again.
  config &reconnect(const reconnect_policy &policy = {}, error *err = nullptr) {
    wslink_reconnect_options options = WSLINK_RECONNECT_OPTIONS_INIT;
    options.attempts = policy.attempts;
    options.first_delay_ms = detail::to_ms(policy.first_delay);
    options.longest_delay_ms = detail::to_ms(policy.longest_delay);
    options.total_ms = policy.total == policy.total.zero() ? 0 : detail::to_ms(policy.total);
    options.at_first = policy.at_first;
    return set(err, [&](auto **e) { return wslink_config_set_reconnect(handle_, &options, e); });
  }
  /// Asked before every attempt to reconnect whether the failure is worth it: `bool(const error& reason, std::uint32_t
  /// attempt)`; without it, attempts are made after failures that error::is_retriable() says are. Runs on the I/O
  /// thread, must answer at once, and must not use the session.
  template <class F>
  config &reconnect_filter(F &&callback, error *err = nullptr) {
    return hand_over(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_set_reconnect_filter(handle_, run_filter<target>, f, detail::destroy<target>, e);
    });
  }
  /// Largest message that is accepted; 1 GiB if not set.
  config &max_message_size(std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_max_message_size(handle_, bytes, e); });
  }
  /// How many messages may be unfinished at a time, and how many bytes of them; 64 and 2 GiB if not set.
  config &max_unfinished(std::size_t count, std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_max_unfinished(handle_, count, bytes, e); });
  }
  /// How many attachments, and bytes of them, are kept for later messages (protocol 1); 256 and 512 MiB if not set.
  config &attachment_store(std::size_t count, std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_attachment_store(handle_, count, bytes, e); });
  }
  /// How many bytes of publications may wait to be dispatched; 1 GiB if not set.
  config &queue_bytes(std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_queue_bytes(handle_, bytes, e); });
  }
  /// How many bytes of calls may wait to be sent; 1 GiB if not set.
  config &send_queue_bytes(std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_send_queue_bytes(handle_, bytes, e); });
  }
  /// How many bytes of receive buffers are kept for reuse; 160 MiB if not set.
  config &buffer_pool_bytes(std::size_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_buffer_pool_bytes(handle_, bytes, e); });
  }
  /// Largest message that a protocol 1 server takes; 4194303 if not set.
  config &v1_upload_limit(std::uint64_t bytes, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_v1_upload_limit(handle_, bytes, e); });
  }
  /// Whether small messages leave at once (TCP_NODELAY); true if not set.
  config &nodelay(bool on, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_nodelay(handle_, on, e); });
  }
  /// Connects through an HTTP proxy: `http://user:password@host:port`.
  config &proxy(std::string_view url, error *err = nullptr) {
    return set(err, url, [this](auto *u, auto **e) { return wslink_config_set_proxy(handle_, u, e); });
  }
  /// Trusts the certificates of a PEM file.
  config &ca_file(std::string_view path, error *err = nullptr) {
    return set(err, path, [this](auto *p, auto **e) { return wslink_config_add_ca_file(handle_, p, e); });
  }
  /// Trusts the certificates in PEM text.
  config &ca_pem(std::string_view pem, error *err = nullptr) {
    return set(err, pem, [this](auto *p, auto **e) { return wslink_config_add_ca_pem(handle_, p, e); });
  }
  /// Whether the certificate authorities of the platform are trusted; true if not set.
  config &platform_roots(bool trusted, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_platform_roots(handle_, trusted, e); });
  }
  /// Accepts exactly the certificate with this SHA-256 fingerprint, whatever is in it.
  config &certificate_pin(std::string_view fingerprint, error *err = nullptr) {
    return set(err, fingerprint,
               [this](auto *f, auto **e) { return wslink_config_add_certificate_pin(handle_, f, e); });
  }
  /// Accepts any certificate: whoever sits between can read and change everything, the secret included.
  config &danger_accept_any_certificate(bool accept, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_danger_accept_any_certificate(handle_, accept, e); });
  }
  /// Shows a certificate of the client: a PEM file with its chain and one with its PKCS #8 key.
  config &client_certificate(std::string_view chain_path, std::string_view key_path, error *err = nullptr) {
    return set(err, chain_path, key_path, [this](auto *chain, auto *key, auto **e) {
      return wslink_config_set_client_certificate(handle_, chain, key, e);
    });
  }
  /// Where callbacks run; delivery::queued if not set.
  config &delivery(wslink::delivery where, error *err = nullptr) {
    return set(err, [&](auto **e) { return wslink_config_set_delivery(handle_, static_cast<std::int32_t>(where), e); });
  }

  /// Where the log goes, up to this level: `void(log_level, const char* line)`, the line borrowed. Runs on any thread,
  /// and must not use the session. Secrets are never logged.
  template <class F>
  config &log(log_level most, F &&callback, error *err = nullptr) {
    return hand_over(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_set_log(handle_, static_cast<std::int32_t>(most), run_log<target>, f,
                                   detail::destroy<target>, e);
    });
  }
  /// Told about every change of state: `void(const state_change&)`.
  template <class F>
  config &on_state(F &&callback, error *err = nullptr) {
    return hand_over(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_on_state(handle_, run_state<target>, f, detail::destroy<target>, e);
    });
  }
  /// Told how far large messages are, in both directions: `void(const progress&)`.
  template <class F>
  config &on_progress(F &&callback, error *err = nullptr) {
    return hand_over(std::forward<F>(callback), err, [&](auto *f, auto **e) {
      using target = std::remove_pointer_t<decltype(f)>;
      return wslink_config_on_progress(handle_, run_progress<target>, f, detail::destroy<target>, e);
    });
  }
  /// Called when there is something to dispatch after there was nothing: `void()`. Runs on any thread, often the I/O
  /// thread: it must only wake the event loop of the application.
  template <class F>
  config &on_wakeup(F &&callback, error *err = nullptr) {
    return hand_over(std::forward<F>(callback), err, [&](auto *f, auto **e) {
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
    out.check(setter(out.c()));
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
  config &hand_over(F &&callback, error *err, Register reg) {
    // The C function takes charge of it, also when it fails.
    auto *kept = new std::decay_t<F>(std::forward<F>(callback));
    return set(err, [&](wslink_error **e) { return reg(kept, e); });
  }

  wslink_config *handle_ = nullptr;
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_CONFIG_HPP
