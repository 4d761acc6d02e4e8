/// @file
/// wslink for C++: a client for the servers of VTK, ParaView and trame. Header-only, C++17, over wslink.h; works with
/// exceptions and without (`-fno-exceptions`), and without RTTI. C++20 adds coroutines and std::stop_token.
///
///     #include <wslink.hpp>
///
///     wslink::session session("ws://localhost:8080/ws");
///     session.connect();
///     int sum = session.call("myprotocol.add", {1, 2, 3}).get<int>();
///
///     wslink::subscription images = session.subscribe("image", [](const wslink::publication& p) {
///       wslink::buffer png = p.result()["blob"].get<wslink::buffer>();  // kept, not copied
///     }, wslink::keep_latest());
///     session.dispatch(std::chrono::seconds(1));
///
/// Namespace wslink documents the general rules: errors, ownership, threads, exceptions in callbacks.

#ifndef WSLINK_HPP
#define WSLINK_HPP

#include "wslink/args.hpp"        // IWYU pragma: export
#include "wslink/buffer.hpp"      // IWYU pragma: export
#include "wslink/call.hpp"        // IWYU pragma: export
#include "wslink/config.hpp"      // IWYU pragma: export
#include "wslink/error.hpp"       // IWYU pragma: export
#include "wslink/latest_call.hpp" // IWYU pragma: export
#include "wslink/launcher.hpp"    // IWYU pragma: export
#include "wslink/listener.hpp"    // IWYU pragma: export
#include "wslink/process.hpp"     // IWYU pragma: export
#include "wslink/session.hpp"     // IWYU pragma: export
#include "wslink/value.hpp"       // IWYU pragma: export

#endif // WSLINK_HPP
