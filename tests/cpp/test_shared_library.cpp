// A program and a shared library that both use the wrapper, and hide their symbols from each other.

#include "check.hpp"
#include "shared_library.hpp"

#include <exception>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;

SERVER_TEST(failures_in_the_library_are_caught_in_the_program) {
  const wslink::session session = check::ready(url);
  THROWS(remote, shared_library::call_unknown(session));
}

SERVER_TEST(dispatch_rethrows_what_a_callback_of_the_library_threw) {
  const wslink::session session = check::ready(url);
  shared_library::begin_to_throw(session);
  std::string thrown;
  try {
    session.dispatch_until([] { return false; }, 20s);
  } catch (const std::runtime_error &e) {
    thrown = e.what();
  }
  CHECK_EQ(thrown, "of the library");
}

std::string hooked;

SERVER_TEST(the_hook_of_the_program_gets_exceptions_of_the_library) {
  const wslink::session session = check::ready(url);
  hooked.clear();
  wslink::set_exception_hook([](std::exception_ptr thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception &e) {
      hooked = e.what();
    }
  });
  shared_library::begin_to_throw(session);
  CHECK(session.dispatch_until([] { return !hooked.empty(); }, 20s));
  wslink::set_exception_hook(nullptr);
  CHECK_EQ(hooked, "of the library");
}

} // namespace
