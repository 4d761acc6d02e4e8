// The interface of the shared library of test_shared_library.cpp.

#ifndef WSLINK_TESTS_SHARED_LIBRARY_HPP
#define WSLINK_TESTS_SHARED_LIBRARY_HPP

#include <wslink.hpp>

namespace shared_library {

// Makes a call that fails, and throws its exception to the caller.
WSLINK_CPP_VISIBLE void call_unknown(const wslink::session &session);
// Makes a call whose callback throws std::runtime_error.
WSLINK_CPP_VISIBLE void begin_to_throw(const wslink::session &session);

} // namespace shared_library

#endif // WSLINK_TESTS_SHARED_LIBRARY_HPP
