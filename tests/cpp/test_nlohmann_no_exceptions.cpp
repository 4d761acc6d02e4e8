// nlohmann::json in a program without exceptions.

#include <wslink/adapters/nlohmann.hpp>

#include "check.hpp"

using nlohmann::json;

namespace {

SERVER_TEST(json_goes_both_ways) {
  const wslink::session session = check::ready(url);
  const json sent = {{"list", {1, -2, 2.5, nullptr, true, "text"}}, {"binary", json::binary({1, 2, 3})}};
  wslink::error err;
  const auto came = session.call("test.echo", wslink::args_from(json::array({sent}), sent), &err).get<json>(&err);
  CHECK(!err && came["args"][0] == sent && came["kwargs"] == sent);
}

SERVER_TEST(failures_go_where_they_are_wanted) {
  const wslink::session session = check::ready(url);
  FAILS(json, session.call("test.echo", json::parse("{", nullptr, false), &err));
  FAILS(argument, session.call("test.echo", wslink::args_from(json(1)), &err));
  FAILS(not_found, wslink::value().get<json>(&err));
}

} // namespace
