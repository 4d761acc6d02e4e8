// nlohmann::json in both directions: every value of the servers as JSON, and JSON echoed by the servers.

#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <wslink/adapters/nlohmann.hpp>

#include "check.hpp"

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

using bytes = std::vector<std::uint8_t>;

// The server's echo of one argument.
json back(const wslink::session &session, const json &argument) {
  return session.call("test.echo", argument).get<json>()["args"][0];
}

json nested(unsigned levels) {
  json deep = 1;
  for (unsigned i = 0; i < levels; ++i)
    deep = json::array({std::move(deep)});
  return deep;
}

// Whether `ours` equals the result of json::parse() for the text of the same value, including kinds of numbers. In the
// text, binary data is the key of an attachment, an extension is an object, and a number that is not finite is null.
bool is_parsed(const json &ours, const json &parsed, const std::map<std::string, bytes> &attachments) {
  if (ours.is_binary() && ours.get_binary().has_subtype())
    return parsed.is_object() &&
           parsed["$ext"].get<std::int8_t>() == static_cast<std::int8_t>(ours.get_binary().subtype());
  if (ours.is_binary())
    return parsed.is_string() &&
           attachments.at(parsed.get<std::string>()) == static_cast<const bytes &>(ours.get_binary());
  if (ours.is_number_float() && !std::isfinite(ours.get<double>()))
    return parsed.is_null();
  if (ours.type() != parsed.type() || ours.size() != parsed.size())
    return false;
  if (!ours.is_structured())
    return ours == parsed;
  for (auto one = ours.begin(), other = parsed.begin(); one != ours.end(); ++one, ++other) {
    if (ours.is_object() && one.key() != other.key())
      return false;
    if (!is_parsed(*one, *other, attachments))
      return false;
  }
  return true;
}

SERVER_TEST(every_value_is_what_its_text_is_parsed_to) {
  const wslink::session session = check::ready(url);
  std::set<std::string> errors;
  std::size_t count = 0;
  for (const auto &name : session.call("test.value").get<std::vector<std::string>>()) {
    wslink::error err;
    const wslink::document came = session.call("test.value", name, &err);
    if (err) {
      errors.insert(name);
      continue;
    }
    ++count;
    const wslink::json_text text = came.result().to_json();
    std::map<std::string, bytes> attachments;
    for (std::size_t i = 0; i < text.attachment_count(); ++i)
      attachments[std::string(text.attachment_key(i))] = text.attachment(i).view().to_vector();
    if (!CHECK(is_parsed(came.get<json>(), json::parse(text.text()), attachments)))
      std::printf("  %s\n", name.c_str());
  }
  CHECK(count > 40);
  const std::set<std::string> unsendable = url.protocol == 1 ? std::set<std::string>{"set", "str.surrogate"}
                                                             : std::set<std::string>{"10**30", "set", "str.surrogate"};
  CHECK(errors == unsendable);
}

SERVER_TEST(numbers_arrive_as_they_are) {
  const wslink::session session = check::ready(url);
  const json floats = session.call("test.value", "floats").get<json>();
  CHECK(floats[0].is_number_float() && std::isnan(floats[0].get<double>()));
  CHECK(floats[1] == inf && floats[2] == -inf);
  CHECK(floats[3].is_number_float() && std::signbit(floats[3].get<double>()));
  CHECK(floats[6] == 0.1 && floats[9] == 5e-324 && floats[10] == 1.7976931348623157e308);

  const json ints = session.call("test.value", "ints").get<json>();
  CHECK(ints[0].is_number_unsigned() && ints[0] == 0);
  CHECK(!ints[1].is_number_unsigned() && ints[1].is_number_integer() && ints[1] == -1);
  CHECK(ints[11].get<std::int64_t>() == (1LL << 53) + 1);
  CHECK(ints[13].get<std::int64_t>() == std::numeric_limits<std::int64_t>::min());
  CHECK(ints[14].get<std::uint64_t>() == std::numeric_limits<std::uint64_t>::max());
  if (url.protocol == 1) {
    const json big = session.call("test.value", "10**30").get<json>();
    CHECK(big.is_number_float() && big == 1e30);
    CHECK(big == json::parse("1" + std::string(30, '0')));
  }
}

SERVER_TEST(keys_that_are_no_strings_become_those_of_json) {
  const wslink::session session = check::ready(url);
  json expected = {{"7", "int"},       {"-7", "negative"}, {"null", "nil"}, {"true", "true"},
                   {"false", "false"}, {"1.5", "float"},   {"k", "str"}};
  if (url.protocol == 2)
    expected.update({{"6b", "bytes"}, {"[1, [2]]", "tuple"}});
  CHECK_EQ(session.call("test.value", "keys").get<json>().dump(), expected.dump());
}

SERVER_TEST(binary_data_and_extensions_arrive_as_binary) {
  const wslink::session session = check::ready(url);
  const json image = session.call("test.bytes.twice", 100'000, 3).get<json>();
  CHECK(image["a"].is_binary() && !image["a"].get_binary().has_subtype());
  CHECK(image["a"] == json::binary(check::pattern(100'000, 3)) && image["b"][0] == image["a"]);
  CHECK(session.call("test.bytes", 0).get<json>() == json::binary({}));
  if (url.protocol == 2) {
    const json ext = session.call("test.value", "ext").get<json>();
    CHECK(ext[0] == json::binary({}, 0) && ext[1] == json::binary({1, 2, 3}, 5));
    CHECK(ext[2] == json::binary(check::pattern(300), 127));
    const json times = session.call("test.value", "timestamps").get<json>();
    CHECK(times[0] == json::binary({0, 0, 0, 1}, 255));
  }
}

SERVER_TEST(json_of_every_kind_is_echoed) {
  const wslink::session session = check::ready(url);
  const json everything = {
      {"null", nullptr},
      {"truth", {true, false}},
      {"integers", {0, -1, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::uint64_t>::max()}},
      {"floats", {0.1, 1.0, -inf, 5e-324}},
      {"text", {"", "Größe 大きさ", std::string("\0", 1), "wslink_bin0"}},
      {"binary", {json::binary({}), json::binary({0, 255, 128}), json::binary(check::pattern(70'000))}},
      {"empty", {json::array(), json::object()}},
      {"nested", {{"list", {1, {2, {3}}}}, {"", {{"deep", nested(100)}}}}},
  };
  CHECK(back(session, everything) == everything);
  const json again = back(session, json::array({1, 1.0, nan}));
  CHECK(again[0].is_number_integer() && again[1].is_number_float() && std::isnan(again[2].get<double>()));

  wslink::error err;
  const json ext = {json::binary({}, 0), json::binary({1, 2, 3}, 127), json::binary({0, 0, 0, 1}, 255)};
  const wslink::document came = session.call("test.echo", ext, &err);
  if (url.protocol == 2) {
    CHECK(!err && came["args"][0].get<json>() == ext);
  } else {
    CHECK_EQ(err.code(), wslink::code::unsupported);
  }
}

SERVER_TEST(json_is_one_argument_among_others) {
  const wslink::session session = check::ready(url);
  const json list = {1, 2, 3};
  const ordered_json size = {{"width", 4}, {"height", 3}};
  CHECK_EQ(session.call("myprotocol.add", list).get<int>(), 6);
  const json came = session
                        .call("test.echo", list, "two", {size, 3}, wslink::kw("size", size), wslink::map({"in", list}),
                              std::vector<json>{nullptr, "x"}, std::map<std::string, json>{{"k", list}},
                              wslink::timeout(std::chrono::minutes(1)))
                        .get<json>();
  const json args = {list, "two", {size, 3}, {{"in", list}}, {nullptr, "x"}, {{"k", list}}};
  CHECK_EQ(came.dump(), json({{"args", args}, {"kwargs", {{"size", size}}}}).dump());
}

SERVER_TEST(args_from_gives_all_arguments) {
  const wslink::session session = check::ready(url);
  const json list = {1, {2}, "three", nullptr};
  const json object = {{"a", {{"b", 1}}}, {"c", nullptr}};
  CHECK(session.call("test.echo", wslink::args_from(list)).get<json>() ==
        json({{"args", list}, {"kwargs", json::object()}}));
  CHECK(session.call("test.echo", wslink::args_from(list, object)).get<json>() ==
        json({{"args", list}, {"kwargs", object}}));
  CHECK(session.call("test.echo", wslink::args_from(json(), object)).get<json>()["kwargs"] == object);
  CHECK(session.call("test.echo", wslink::args_from(list, json())).get<json>()["args"] == list);
  CHECK(session.request("test.echo", wslink::args_from(list)).wait().get<json>()["args"] == list);

  // A moved argument gives up its binary data; a copied one keeps it.
  json upload = json::array({json::binary(check::pattern(300'000))}); // braces alone differ from compiler to compiler
  const bytes::value_type *before = upload[0].get_binary().data();
  const json sum = session.call("test.sum", wslink::args_from(upload)).get<json>();
  CHECK(sum["len"] == 300'000 && upload[0].get_binary().data() == before && upload[0].get_binary().size() == 300'000);
  CHECK(session.call("test.sum", wslink::args_from(std::move(upload))).get<json>() == sum);
  CHECK(upload[0].get_binary().empty()); // NOLINT: moved from on purpose
}

SERVER_TEST(what_cannot_be_sent_makes_the_call_fail) {
  const wslink::session session = check::ready(url);
  THROWS(json, session.call("test.echo", json::parse("{", nullptr, false)));
  THROWS(json, session.call("test.echo", json{{"a", {json(json::value_t::discarded)}}}));
  THROWS(argument, session.call("test.echo", json::binary({1}, 256)));
  THROWS(utf8, session.call("test.echo", json("\xff")));
  THROWS(limit, session.call("test.echo", nested(2049)));
  THROWS(argument, session.call("test.echo", wslink::args_from(json{{"a", 1}})));
  THROWS(argument, session.call("test.echo", wslink::args_from(json("a"))));
  THROWS(argument, session.call("test.echo", wslink::args_from(json(), json{1})));
  FAILS(argument, session.call("test.echo", wslink::args_from(json(1)), &err));
  wslink::args most;
  most.add(nested(2048));
  CHECK(!most.failure());
  // The session goes on.
  CHECK(back(session, 1) == 1);
}

SERVER_TEST(values_become_json_in_every_way) {
  const wslink::session session = check::ready(url);
  const wslink::document came = session.call("test.echo", 1, wslink::kw("z", 1), wslink::kw("a", {2, "x"}));
  const json copy = came["kwargs"];
  CHECK(copy == json({{"z", 1}, {"a", {2, "x"}}}));
  const json around = {{"came", came["args"]}, {"list", {came["kwargs"]["a"], 5}}};
  CHECK(around == json({{"came", {1}}, {"list", {{2, "x"}, 5}}}));
  CHECK_EQ(came["kwargs"].get<ordered_json>().dump(), std::string(R"({"z":1,"a":[2,"x"]})"));
  CHECK(came["kwargs"].get<std::map<std::string, json>>().at("a")[1] == "x");
  CHECK(came["args"].get<std::vector<json>>() == std::vector<json>{1});
  CHECK(came["args"][0].get<std::optional<json>>() == std::optional<json>(1));

  // A view of nothing is an error, null is a value.
  THROWS(not_found, came["missing"].get<json>());
  THROWS(not_found, json(came["missing"]));
  CHECK(came["missing"].get_or<json>("otherwise") == "otherwise" && !came["missing"].get_if<json>());
  CHECK(session.call("test.value", "none").get<json>().is_null());

  json heard;
  const wslink::subscription topic =
      session.subscribe("json", [&](const wslink::publication &p) { heard = p.get<json>(); });
  session.call("test.publish", "json", 1, json{{"in", json::binary({1, 2})}});
  CHECK(session.dispatch_until([&] { return !heard.is_null(); }, std::chrono::minutes(1)));
  CHECK(heard == json({{"i", 0}, {"value", {{"in", json::binary({1, 2})}}}}));

  // The data of an exception on the server.
  wslink::error err;
  session.call("test.raise", "ValueError", &err);
  const auto data = err.remote_data().get<json>();
  CHECK(data["method"] == "test.raise" && data["exception"].is_string());
}

} // namespace
