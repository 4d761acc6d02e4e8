// A shared library that uses the wrapper on its own, compiled with hidden symbols.

#include "shared_library.hpp"

#include <stdexcept>

void shared_library::call_unknown(const wslink::session &session) { session.call("no.such.method"); }

void shared_library::begin_to_throw(const wslink::session &session) {
  session.request("test.info").then([](wslink::outcome &&) { throw std::runtime_error("of the library"); });
}
