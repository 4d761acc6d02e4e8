// The failures of wslink-cli: exit codes by class of error, and messages on stderr.

#ifndef WSLINK_CLI_FAILURE_HPP
#define WSLINK_CLI_FAILURE_HPP

#include <cstdio>
#include <stdexcept>
#include <string>

#include <wslink.hpp>

namespace cli {

enum exit_code {
  exit_ok = 0,
  exit_remote = 1,     // the server answered with an error
  exit_usage = 2,      // options or arguments that cannot be used
  exit_connection = 3, // no connection: name, TCP, proxy, TLS, HTTP
  exit_hello = 4,      // connected, but refused: secret, protocol, no wslink server
  exit_timeout = 5,    // a deadline passed
  exit_lost = 6,       // the connection ended, or the server broke the protocol
  exit_limit = 7,      // something is larger than a limit
  exit_file = 8,       // a local file cannot be read or written
  exit_internal = 70   // a defect, or the operating system refused something
};

inline const char *const exit_codes_help = "Exit status:\n"
                                           "  0  success\n"
                                           "  1  the server answered with an error\n"
                                           "  2  options or arguments that cannot be used\n"
                                           "  3  no connection (name, TCP, proxy, TLS, HTTP)\n"
                                           "  4  refused by the server (secret, protocol), or no wslink server\n"
                                           "  5  a deadline passed\n"
                                           "  6  the connection ended before the answer came\n"
                                           "  7  something is larger than a limit\n"
                                           "  8  a local file cannot be read or written\n"
                                           "  70 an internal error\n";

inline exit_code exit_code_of(wslink::code why) {
  using wslink::code;
  switch (why) {
  case code::ok:
    return exit_ok;
  case code::remote:
    return exit_remote;
  case code::argument:
  case code::utf8:
  case code::json:
  case code::attachment:
  case code::unsupported:
    return exit_usage;
  case code::resolve:
  case code::connect:
  case code::proxy:
  case code::tls:
  case code::upgrade:
  case code::launcher:
    return exit_connection;
  case code::hello:
  case code::auth:
  case code::mismatch:
    return exit_hello;
  case code::timeout:
    return exit_timeout;
  case code::connection_lost:
  case code::protocol:
  case code::closed:
    return exit_lost;
  case code::limit:
    return exit_limit;
  default:
    return exit_internal;
  }
}

// A failure that does not come from the library.
class failure : public std::runtime_error {
public:
  failure(exit_code status, const std::string &message) : std::runtime_error(message), status_(status) {}
  exit_code status() const { return status_; }

private:
  exit_code status_;
};

// Prints the error, and with `trace` the traceback of the server.
inline exit_code report(const wslink::error &why, bool trace) {
  std::fprintf(stderr, "wslink-cli: %s\n", why.message());
  if (why.remote_code()) {
    const auto text = why.remote_data()["trace"].get_if<std::string>();
    if (trace && text)
      std::fprintf(stderr, "%s\n", text->c_str());
    if (!trace && text)
      std::fprintf(stderr, "  (--trace shows where on the server)\n");
  }
  if (why.is_retriable())
    std::fprintf(stderr, "  (trying again later may help)\n");
  return exit_code_of(why.code());
}

} // namespace cli

#endif // WSLINK_CLI_FAILURE_HPP
