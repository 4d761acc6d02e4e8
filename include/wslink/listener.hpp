/// @file
/// Servers that open the connection themselves.

#ifndef WSLINK_LISTENER_HPP
#define WSLINK_LISTENER_HPP

#include "config.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {

/// Where a listener listens. See wslink_listener_options.
struct listener_options {
  std::string address;         ///< The IP address. Empty: 127.0.0.1, which only this machine reaches.
  std::string host;            ///< The host in the URL, by which servers reach this machine. Empty: the address.
  std::uint16_t port = 0;      ///< 0: the system picks one.
  std::string certificate_pem; ///< For TLS: a certificate in PEM, followed by its issuers. Empty: no TLS.
  std::string key_pem;         ///< The key of the certificate, in PEM, not encrypted.
};

/// Listens for wslink servers that open the connection themselves (`--reverse-url`), because they cannot be reached.
///
///     wslink::listener listener;
///     wslink::config config = listener.config();
///     std::cout << "python3 app.py --reverse-url " << config.reverse_url() << "\n";
///     wslink::session session(config);
///     session.connect();  // waits for the server
///
/// Each config has a URL with a random token of its own, and takes one connection at a time. Strangers are refused, see
/// wslink_listener. The socket is closed when the last listener, config and session that use it are destroyed. Any
/// thread.
class listener {
public:
  /// Begins to listen. Empty after a failure that `err` received.
  explicit listener(const listener_options &options = {}, error *err = nullptr) {
    for (const std::string *text : {&options.address, &options.host, &options.certificate_pem, &options.key_pem})
      if (text->find('\0') != text->npos) {
        detail::fail(error(code::argument, "the text of an option contains a NUL character"), err);
        return;
      }
    const auto given = [](const std::string &text) { return text.empty() ? nullptr : text.c_str(); };
    wslink_listener_options c_options = WSLINK_LISTENER_OPTIONS_INIT;
    c_options.address = given(options.address);
    c_options.host = given(options.host);
    c_options.port = options.port;
    c_options.certificate_pem = given(options.certificate_pem);
    c_options.key_pem = given(options.key_pem);
    detail::outlet out(err);
    out.succeeded(wslink_listener_new(&c_options, &handle_, out.c()));
  }
  /// Leaves `other` empty.
  listener(listener &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  /// Leaves `other` empty.
  listener &operator=(listener &&other) noexcept {
    listener moved(std::move(other));
    std::swap(handle_, moved.handle_);
    return *this;
  }
  listener(const listener &) = delete;
  listener &operator=(const listener &) = delete;
  ~listener() { wslink_listener_free(handle_); }

  /// The C listener, borrowed.
  wslink_listener *c_ptr() const noexcept { return handle_; }
  /// The port at which it listens.
  std::uint16_t port() const noexcept { return wslink_listener_port(handle_); }
  /// How many connections were refused so far.
  std::uint64_t refused() const noexcept { return wslink_listener_refused(handle_); }
  /// A config with the defaults, for one session whose connections the server opens, with the URL
  /// config::reverse_url(). Connecting then means to wait for the server, at most for the connect timeout.
  wslink::config config(error *err = nullptr) const {
    wslink_config *made = nullptr;
    detail::outlet out(err);
    out.succeeded(wslink_config_new_accepting(handle_, &made, out.c()));
    return wslink::config::from_c(made);
  }

private:
  wslink_listener *handle_ = nullptr;
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_LISTENER_HPP
