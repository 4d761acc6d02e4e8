/// @file
/// Listeners: for servers that open the connection themselves.

#ifndef WSLINK_LISTENER_HPP
#define WSLINK_LISTENER_HPP

#include "config.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// The options of a listener. Text must not contain NUL, except `pkcs12`.
struct listener_options {
  /// The IP address to listen at, such as "::1", or, for all addresses of this machine, "0.0.0.0". Empty: 127.0.0.1,
  /// which only this machine reaches.
  std::string address;
  /// The host in the URL for servers: the name or address by which they reach this machine. Empty: `address`, which
  /// must then not be that of all addresses.
  std::string host;
  std::uint16_t port = 0; ///< 0: one that the system picks, see listener::port().
  /// For TLS (`wss`): the certificate chain in PEM, beginning with the certificate itself. Empty: no TLS (`ws`), unless
  /// there is `pkcs12`.
  std::string certificate_pem;
  std::string key_pem;         ///< The key of `certificate_pem` in PEM, not encrypted.
  std::string pkcs12;          ///< Instead of both: the content of a PKCS #12 file.
  std::string pkcs12_password; ///< The password of `pkcs12`.
};

/// Listens for servers that open the connection themselves, because they were started with the option `--reverse-url`:
/// servers behind a firewall, or with a port that is not known in advance.
///
///     wslink::listener listener;
///     wslink::config config = listener.accept();
///     start_server("--reverse-url", config.reverse_url());
///     wslink::session session(config);
///     session.connect(); // waits for the server
///
/// It has a thread, and any thread may use it. Configs and sessions that were made of it stay usable after its
/// destruction: it ends, and closes its socket, when the last of them is destroyed, too.
///
/// An **empty** listener (moved from, released, or left by a failure) listens nowhere. Its functions fail with
/// code::null, or return 0.
class listener {
public:
  /// Listens at 127.0.0.1, at a port that the system picks. Empty after a failure that `err` received.
  explicit listener(error *err = nullptr) { listen(nullptr, err); }
  /// Listens with these options. Fails with code::system if the port is in use, or the address not one of this machine.
  /// Empty after a failure that `err` received.
  explicit listener(const listener_options &options, error *err = nullptr) {
    for (const std::string *text :
         {&options.address, &options.host, &options.certificate_pem, &options.key_pem, &options.pkcs12_password}) {
      if (text->find('\0') != text->npos) {
        detail::fail(error(code::argument, "the text of an option contains a NUL character"), err);
        return;
      }
    }
    wslink_listener_options all = WSLINK_LISTENER_OPTIONS_INIT;
    all.address = text_or_null(options.address);
    all.host = text_or_null(options.host);
    all.port = options.port;
    all.certificate_pem = text_or_null(options.certificate_pem);
    all.key_pem = text_or_null(options.key_pem);
    all.pkcs12.ptr = reinterpret_cast<const std::uint8_t *>(options.pkcs12.data());
    all.pkcs12.len = options.pkcs12.size();
    all.pkcs12_password = text_or_null(options.pkcs12_password);
    listen(&all, err);
  }
  /// Leaves `other` empty.
  listener(listener &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  /// Releases the current listener. Leaves `other` empty.
  listener &operator=(listener &&other) noexcept {
    listener moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  listener(const listener &) = delete;
  listener &operator=(const listener &) = delete;
  ~listener() { wslink_listener_free(handle_); }

  /// Takes ownership of a C listener.
  static listener from_c(wslink_listener *handle) noexcept { return listener(handle, 0); }
  /// Passes ownership of the C listener to the caller.
  wslink_listener *release() noexcept { return std::exchange(handle_, nullptr); }
  /// The C listener, borrowed.
  wslink_listener *c_ptr() const noexcept { return handle_; }
  /// Whether there is a listener.
  explicit operator bool() const noexcept { return handle_ != nullptr; }

  /// A config whose session the server opens: start the server with `--reverse-url` and config::reverse_url().
  /// session::connect() then waits for the server's next connection, at most for config::connect_timeout(), and
  /// reconnecting waits for the server to connect again.
  ///
  /// Each config has a URL of its own. Its copies and sessions share that URL, at which one connection is accepted at a
  /// time: use one config for one session. The URL is closed when the last of them is destroyed.
  ///
  /// Options about the way to a server have no effect: header(), proxy(), and those of TLS. attempt::url() and
  /// attempt::header() fail with code::argument. The config is empty after a failure that `err` received.
  [[nodiscard]] config accept(error *err = nullptr) const {
    detail::outlet out(err);
    wslink_config *made = nullptr;
    out.succeeded(wslink_config_new_accepting(handle_, &made, out.c()));
    return config::from_c(made);
  }
  /// The port at which it listens.
  std::uint16_t port() const noexcept { return wslink_listener_port(handle_); }
  /// How many connections were refused so far: with a wrong path, from a web page (with an `Origin`), too slow, to a
  /// path in use, or with a request that is not one of wslink servers.
  std::uint64_t refused() const noexcept { return wslink_listener_refused(handle_); }

private:
  listener(wslink_listener *handle, int) noexcept : handle_(handle) {}

  void listen(const wslink_listener_options *options, error *err) {
    detail::outlet out(err);
    out.succeeded(wslink_listener_new(options, &handle_, out.c()));
  }
  static const char *text_or_null(const std::string &text) noexcept { return text.empty() ? nullptr : text.c_str(); }

  wslink_listener *handle_ = nullptr;
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_LISTENER_HPP
