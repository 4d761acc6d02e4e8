// Values in both directions, bit for bit: values of the server read as C++ types, and C++ types echoed by the server.

#include <array>
#include <cmath>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "check.hpp"

namespace app {
struct point {
  int x = 0;
  int y = 0;
};
} // namespace app

template <>
struct wslink::from_value<app::point> {
  static bool get(wslink::value from, app::point &to) {
    const auto xy = from.get_if<std::array<int, 2>>();
    if (xy)
      to = {(*xy)[0], (*xy)[1]};
    return xy.has_value();
  }
};
// Specialisations for types that the wrapper otherwise reads in bulk: they also apply inside lists.
template <>
struct wslink::from_value<std::string> {
  static bool get(wslink::value from, std::string &to) {
    const auto text = from.get_if<std::string_view>();
    to = text ? std::string(*text) : from.get_or(false) ? "yes" : "";
    return text.has_value() || from.kind() == wslink::kind::boolean;
  }
};
template <>
struct wslink::from_value<float> {
  static bool get(wslink::value from, float &to) {
    to = from.is_null() ? -1.0F : static_cast<float>(from.get_or(0.0));
    return from.is_null() || from.is_number();
  }
};
template <>
struct wslink::to_args<app::point> {
  static void add(wslink::args &to, const app::point &from) { to.begin_list().add(from.x).add(from.y).end(); }
};

namespace {

using limits64 = std::numeric_limits<std::int64_t>;
constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

bool same_bits(double a, double b) {
  if (std::isnan(a) || std::isnan(b))
    return std::isnan(a) && std::isnan(b);
  return std::memcmp(&a, &b, sizeof a) == 0;
}
bool same_bits(const std::vector<double> &a, const std::vector<double> &b) {
  if (a.size() != b.size())
    return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!same_bits(a[i], b[i]))
      return false;
  }
  return true;
}

// The server's echo of one argument.
template <class T>
wslink::document echo(const wslink::session &session, const T &argument) {
  return session.call("test.echo", argument);
}
template <class T>
T back(const wslink::session &session, const T &argument) {
  return echo(session, argument)["args"][0].template get<T>();
}
std::string text_of(wslink::value v) { return std::string(v.to_json(wslink::json_style::tagged).text()); }

SERVER_TEST(floats_and_integers_arrive_bit_for_bit) {
  const wslink::session session = check::ready(url);
  const std::vector<double> floats{nan, inf, -inf, -0.0, 0.0, 1.0, 0.1, 1e16, 1e-7, 5e-324, 1.7976931348623157e308};
  const wslink::document came = session.call("test.value", "floats");
  CHECK(same_bits(came.get<std::vector<double>>(), floats));
  std::size_t i = 0;
  for (const wslink::value v : came)
    CHECK(v.kind() == wslink::kind::floating && same_bits(v.get<double>(), floats[i++]));
  CHECK_EQ(i, floats.size());

  const wslink::document ints = session.call("test.value", "ints");
  const std::vector<std::int64_t> expected{0,
                                           -1,
                                           127,
                                           128,
                                           -32,
                                           -33,
                                           255,
                                           256,
                                           1LL << 31,
                                           -(1LL << 31),
                                           1LL << 32,
                                           (1LL << 53) + 1,
                                           limits64::max(),
                                           limits64::min()};
  for (i = 0; i < expected.size(); ++i)
    CHECK_EQ(ints[i].get<std::int64_t>(), expected[i]);
  CHECK(ints[i].kind() == wslink::kind::uinteger && ints.size() == i + 1);
  CHECK_EQ(ints[i].get<std::uint64_t>(), std::numeric_limits<std::uint64_t>::max());
  THROWS(kind, ints[i].get<std::int64_t>());
  CHECK_EQ(ints[i].get<double>(), 18446744073709551616.0);
  // One element does not fit: nothing is rounded or truncated silently.
  THROWS(kind, ints.get<std::vector<std::int64_t>>());
  CHECK(!ints.result().get_if<std::vector<std::uint64_t>>());
  CHECK_EQ(ints.get<std::vector<double>>()[12], 9223372036854775808.0);

  const wslink::document many = session.call("test.value", "list.floats");
  const auto numbers = many.get<std::vector<double>>();
  CHECK_EQ(numbers.size(), 100'000);
  bool same = true;
  for (i = 0; i < numbers.size(); ++i)
    same = same && same_bits(numbers[i], static_cast<double>(i) * 0.1);
  CHECK(same);
  CHECK_EQ(many.get<std::vector<float>>()[3], static_cast<float>(3 * 0.1));
  CHECK(!many.result().get_if<std::vector<int>>());
  // An array that is too large for the stack is read into its place.
  using large = std::array<double, 1'200'000>;
  struct holder {
    std::optional<large> numbers;
    explicit holder(wslink::value from) : numbers(from.get_if<large>()) {}
  };
  CHECK(!std::make_unique<holder>(many.result())->numbers);
  const auto whole = session.call("test.value", "list.ints").get<std::vector<std::int32_t>>();
  for (i = 0; i < whole.size(); ++i) {
    same = same && whole[i] == static_cast<std::int64_t>(i * 2654435761 % 4294967296) - 2147483648;
  }
  CHECK(same && whole.size() == 100'000);
}

SERVER_TEST(integers_are_checked_against_their_type) {
  const wslink::session session = check::ready(url);
  const wslink::document v = session.call("test.echo", {255, 256, -1, -129, 65536, 2.0, true, 4294967296});
  const wslink::value list = v["args"][0];
  CHECK_EQ(list[0].get<std::uint8_t>(), 255);
  CHECK(!list[1].get_if<std::uint8_t>() && !list[2].get_if<std::uint8_t>());
  CHECK(!list[0].get_if<std::int8_t>() && !list[3].get_if<std::int8_t>());
  CHECK_EQ(list[2].get<signed char>(), -1);
  CHECK_EQ(list[3].get<short>(), -129);
  CHECK(!list[4].get_if<unsigned short>());
  CHECK_EQ(list[4].get<int>(), 65536);
  CHECK(!list[2].get_if<unsigned>() && !list[2].get_if<std::uint64_t>());
  CHECK(!list[7].get_if<unsigned>() && !list[7].get_if<int>() && list[7].get<long long>() == 4294967296);
  CHECK(!list[5].get_if<int>() && list[5].get<double>() == 2.0); // a float is not an integer
  CHECK(!list[6].get_if<int>() && list[6].get<bool>());          // nor is a truth value
  CHECK(!list[0].get_if<bool>());
  CHECK_EQ(list[0].get<float>(), 255.0F);
}

SERVER_TEST(text_arrives_byte_for_byte) {
  const wslink::session session = check::ready(url);
  const wslink::document all = session.call("test.value", "str.all");
  std::string control;
  for (char c = 0; c < 32; ++c)
    control += c;
  CHECK_EQ(all["empty"].get<std::string>(), "");
  CHECK_EQ(all["latin"].get<std::string_view>(), "Gr\xc3\xb6\xc3\x9f"
                                                 "e");
  CHECK_EQ(all["astral"].get<std::string>(), "\xf0\x9f\x98\x80\xf0\x9d\x94\x98");
  CHECK(all["control"].get<std::string>() == control);
  CHECK_EQ(all["separators"].get<std::string>(), "\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf");
  CHECK_EQ(all["backslashes"].get<std::string>(), "\\ \\n \\u0041 \\\\");
  CHECK_EQ(all["key"].get<std::string>(), "wslink_bin999999999");
  CHECK_EQ(all["str32"].size(), 200'000);

  std::size_t seen = 0;
  for (const auto &[key, value] : all.items()) {
    CHECK(key.is_string() && value.is_string());
    // and back
    CHECK(back(session, value.get<std::string>()) == value.get<std::string>());
    ++seen;
  }
  CHECK_EQ(seen, all.size());
  CHECK(back(session, std::string("a\0b", 3)) == std::string("a\0b", 3));
}

SERVER_TEST(lists_maps_and_what_is_missing) {
  const wslink::session session = check::ready(url);
  const wslink::document records = session.call("test.value", "list.records");
  CHECK(records.size() == 1000 && records.kind() == wslink::kind::array && records.result().is_array());
  int id = 0;
  for (const wslink::value record : records) {
    CHECK(record.is_map() && record["id"].get<int>() == id && record["x"].get<double>() == id * 0.5);
    CHECK(record["none"].is_null() && record["even"].get<bool>() == (id % 2 == 0));
    CHECK((record["tags"].get<std::vector<std::string>>() == std::vector<std::string>{"a", std::to_string(id)}));
    ++id;
  }
  const wslink::value one = records[7];
  std::string keys;
  for (const auto &pair : one.items())
    keys += pair.key.get<std::string>() + ",";
  CHECK_EQ(keys, "id,name,x,y,even,tags,none,text,");
  int values = 0;
  for (const wslink::value v : one)
    values += static_cast<bool>(v);
  CHECK_EQ(values, 8);
  CHECK(one.begin() != one.end() && one["x"].begin() == one["x"].end());

  // A missing value is a view of nothing, at any depth.
  const wslink::value nothing = one["missing"]["deeper"][3]["x"];
  CHECK(!nothing && nothing.kind() == wslink::kind::nothing && nothing.size() == 0 && !nothing.is_null());
  CHECK(!records[1000] && !one[0] && !records["x"] && !one["x"]["y"] && !nothing.share());
  THROWS(not_found, nothing.get<int>());
  THROWS(kind, one["name"].get<int>());
  THROWS(null, nothing.to_json());
  wslink::error err;
  CHECK_EQ(one["name"].get<int>(&err), 0);
  CHECK_EQ(std::string_view(err.message()), "the value is string, not an integer of the type asked for");
  CHECK(one["id"].get<int>(&err) == 7 && !err);
  CHECK_EQ(nothing.get_or(5), 5);
  CHECK_EQ(one["id"].get_or(5), 7);
  CHECK_EQ(one["name"].get_or<std::string>("x"), "record 7");
  CHECK(!one["none"].get<std::optional<int>>() && !nothing.get_if<std::optional<int>>()->has_value());
  CHECK_EQ(one["id"].get<std::optional<int>>().value(), 7);
  CHECK(!one["name"].get_if<std::optional<int>>());
  int elements = 0;
  for (const wslink::value v : nothing)
    elements += static_cast<bool>(v);
  for (const auto &pair : records[0]["x"].items())
    elements += static_cast<bool>(pair.value);
  for (const auto &pair : records.items())
    elements += static_cast<bool>(pair.value);
  CHECK_EQ(elements, 0);

  const wslink::document deep = session.call("test.value", "list.deep");
  wslink::value inner = deep.result();
  for (int depth = 0; depth < 900; ++depth)
    inner = inner[0];
  CHECK_EQ(inner.get<std::string>(), "core");
}

SERVER_TEST(containers_are_filled_and_sent) {
  const wslink::session session = check::ready(url);
  CHECK((back(session, std::array<double, 3>{0.5, nan, -0.0})[0] == 0.5));
  CHECK((back(session, std::array<std::string, 2>{"a", "b"}) == std::array<std::string, 2>{"a", "b"}));
  CHECK((!echo(session, std::vector<int>{1, 2, 3})["args"][0].get_if<std::array<int, 2>>()));
  const std::map<std::string, std::vector<int>> tree{{"a", {1, 2}}, {"b", {}}};
  CHECK(back(session, tree) == tree);
  const std::unordered_map<std::string, double> loose{{"x", 1.5}, {"y", -inf}};
  CHECK(back(session, loose) == loose);
  CHECK((back(session, std::vector<bool>{true, false}) == std::vector<bool>{true, false}));
  CHECK((back(session, std::vector<std::vector<float>>{{1.5F}, {}}) == std::vector<std::vector<float>>{{1.5F}, {}}));
  CHECK(!back(session, std::optional<int>()));
  CHECK_EQ(*back(session, std::optional<int>(3)), 3);
  CHECK((echo(session, std::list<int>{3, 4})["args"][0].get<std::vector<int>>() == std::vector<int>{3, 4}));
  CHECK((echo(session, std::set<std::string>{"q"})["args"][0].get<std::vector<std::string>>()[0] == "q"));
  CHECK_EQ(text_of(echo(session, std::make_pair(1, "two"))["args"]), "[[1, \"two\"]]");
  CHECK_EQ(text_of(echo(session, std::make_tuple(1, nullptr, 2.5))["args"]), "[[1, null, 2.5]]");
  CHECK_EQ(text_of(echo(session, app::point{3, 4})["args"]), "[[3, 4]]");
  const auto point = echo(session, std::vector<app::point>{{1, 2}, {5, 6}})["args"][0].get<std::vector<app::point>>();
  CHECK(point.size() == 2 && point[1].x == 5 && point[1].y == 6);
}

template <class T>
void numbers_both_ways(const wslink::session &session, std::vector<T> values) {
  CHECK(back(session, values) == values);
  CHECK(back(session, std::vector<T>()).empty());
  for (const T one : values)
    CHECK_EQ(back(session, one), one);
}

SERVER_TEST(runs_of_numbers_of_every_type) {
  const wslink::session session = check::ready(url);
  const std::vector<double> floats{nan, inf, -inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1};
  CHECK(same_bits(back(session, floats), floats));
  const double plain[] = {1.5, 2.5};
  CHECK((echo(session, plain)["args"][0].get<std::vector<double>>() == std::vector<double>{1.5, 2.5}));
  numbers_both_ways<double>(session, {1.0, -1e300});
  numbers_both_ways<float>(session,
                           {1.1F, std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::max()});
  numbers_both_ways<long double>(session, {1.5L});
  numbers_both_ways<std::int64_t>(session, {limits64::min(), -1, limits64::max()});
  numbers_both_ways<long long>(session, {-5, 1LL << 60});
  numbers_both_ways<std::uint64_t>(session, {0, std::numeric_limits<std::uint64_t>::max()});
  numbers_both_ways<std::int32_t>(session, {-2147483647 - 1, 2147483647});
  numbers_both_ways<std::uint32_t>(session, {0, 4294967295U});
  numbers_both_ways<std::int16_t>(session, {-32768, 32767});
  numbers_both_ways<std::uint16_t>(session, {65535});
  numbers_both_ways<std::int8_t>(session, {-128, 127});

  const wslink::document large = echo(session, std::vector<double>(200'000, 0.25));
  const wslink::value list = large["args"][0];
  std::array<double, 4> some{};
  CHECK_EQ(list.copy_to(some.data(), some.size()).value_or(0), 4);
  CHECK(some[3] == 0.25);
  CHECK(!list.copy_to(std::array<std::int32_t, 1>().data(), 1)); // no integers
  std::vector<float> all(300'000, 0.0F);
  CHECK_EQ(list.copy_to(all.data(), all.size()).value_or(0), 200'000);
  CHECK(all[199'999] == 0.25F && all[200'000] == 0.0F);
}

SERVER_TEST(arguments_of_every_form) {
  const wslink::session session = check::ready(url);
  CHECK_EQ(text_of(session.call("test.echo").result()), "{\"args\": [], \"kwargs\": {}}");
  CHECK_EQ(text_of(session.call("test.echo", {})["args"]), "[[]]");
  CHECK_EQ(text_of(session.call("test.echo", {1, {2, "x", {}}, true}, {}, nullptr, std::nullopt)["args"]),
           "[[1, [2, \"x\", []], true], [], null, null]");
  CHECK_EQ(text_of(session.call("test.echo", {"a", "b"}, {"a"})["args"]), "[[\"a\", \"b\"], [\"a\"]]");
  CHECK_EQ(text_of(session.call("test.echo", wslink::list(1, "x", wslink::list()), wslink::map({"k", {1, 2}}))["args"]),
           "[[1, \"x\", []], {\"k\": [1, 2]}]");
  CHECK_EQ(text_of(session.call("test.echo", wslink::map({{"a", 1}, {"b", {2, "x"}}, {"c", wslink::map({})}}))["args"]),
           "[{\"a\": 1, \"b\": [2, \"x\"], \"c\": {}}]");
  CHECK_EQ(text_of(session.call("test.echo",
                                wslink::map({"a", 1}, {"b", 2}, {"c", 3}, {"d", wslink::map({"e", 5})}))["args"]),
           "[{\"a\": 1, \"b\": 2, \"c\": 3, \"d\": {\"e\": 5}}]");
  CHECK_EQ(text_of(session.call("test.echo", 1, wslink::kw("n", 2), 3, wslink::kw("m", {4, 5})).result()),
           "{\"args\": [1, 3], \"kwargs\": {\"n\": 2, \"m\": [4, 5]}}");
  CHECK_EQ(text_of(session.call("test.echo", wslink::json("[1, {\"a\": NaN}, -Infinity]"))["args"]),
           "[[1, {\"a\": {\"$float\": \"NaN\"}}, {\"$float\": \"-Infinity\"}]]");
  CHECK_EQ(text_of(session.call("test.echo", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)["args"]),
           "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]");
  const char *none = nullptr;
  const char *text = "pointer";
  const std::string_view part = std::string_view("a part").substr(2);
  CHECK_EQ(text_of(session.call("test.echo", none, text, part, 'x' == 'x', 1U, -1L)["args"]),
           "[\"\", \"pointer\", \"part\", true, 1, -1]");

  // Received values can be sent on, binary data without a copy.
  const wslink::document came = session.call("test.bytes.twice", 5000, 1);
  const wslink::document again = session.call("test.echo", came, came["b"], came["a"].get<wslink::buffer>());
  CHECK(check::is_pattern(again["args"][0]["b"][0].get<wslink::bytes_view>(), 5000, 1));
  CHECK(check::is_pattern(again["args"][1][0].get<wslink::buffer>(), 5000, 1));
  CHECK(check::is_pattern(again["args"][2].get<wslink::bytes_view>(), 5000, 1));
}

SERVER_TEST(the_first_failure_of_arguments_is_that_of_the_call) {
  const wslink::session session = check::ready(url);
  THROWS(utf8, session.call("test.echo", std::string("\xff\xfe")));
  THROWS(utf8, session.call("\xff"));
  THROWS(utf8, session.call("test.echo", wslink::kw("\xff", 1)));
  THROWS(json, session.call("test.echo", wslink::json("[1,")));
  THROWS(argument, session.call("test.echo", {wslink::kw("inside", 1)}));
  THROWS(argument, session.call("test.echo", {wslink::timeout(std::chrono::seconds(1))}));
  FAILS(null, session.call("test.echo", wslink::value(), &err));
  wslink::args args;
  args.begin_list().add(1);
  FAILS(argument, session.call("test.echo", std::move(args), &err));
  wslink::args other;
  other.end().add(std::string("\xff"));
  CHECK_EQ(other.failure().code(), wslink::code::argument);
  CHECK(!other.clear().failure());
  other.add_json_array("[1]").add_json_keywords("{\"k\": [2]}");
  CHECK_EQ(text_of(session.call("test.echo", std::move(other)).result()), "{\"args\": [1], \"kwargs\": {\"k\": [2]}}");
  CHECK_EQ(session.call("myprotocol.add", {1, 2}).get<int>(), 3); // the session works as before
}

template <class T>
void check_array(const wslink::session &session, std::vector<T> numbers) {
  // After a text of any length, so that the data begins at any address.
  int copies = 0;
  for (std::size_t shift = 0; shift < 8; shift++) {
    const std::string text(shift, 'x');
    const wslink::document came = session.call("test.echo", text, wslink::by_reference(std::vector<T>(numbers)));
    const wslink::value bytes = came["args"][1];
    const auto array = bytes.get<wslink::array_view<T>>();
    CHECK(std::vector<T>(array.begin(), array.end()) == numbers);
    CHECK(reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0);
    const void *there = bytes.get<wslink::bytes_view>().data();
    CHECK_EQ(array.is_copy(), reinterpret_cast<std::uintptr_t>(there) % alignof(T) != 0);
    CHECK(array.is_copy() || array.data() == there);
    copies += array.is_copy();
    // A copied or moved view shows the same numbers; copies of a view share memory.
    wslink::array_view<T> second = array;
    wslink::array_view<T> third = std::move(second);
    second = third;
    CHECK(third.data() == array.data() && second.data() == array.data() && third.size() == numbers.size());
    CHECK(second[numbers.size() - 1] == numbers.back());
    // Data that is kept.
    const auto kept = bytes.get<wslink::buffer>();
    const wslink::array_view<T> of_kept(kept);
    CHECK(std::vector<T>(of_kept.begin(), of_kept.end()) == numbers);
    CHECK(bytes.get_if<wslink::array_view<T>>().has_value());
  }
  // Attachments of protocol 1 begin at allocated memory, which is never odd.
  CHECK(copies == 0 || sizeof(T) > 1);
}

SERVER_TEST(binary_data_is_read_as_numbers) {
  const wslink::session session = check::ready(url);
  check_array<std::int8_t>(session, {-128, 0, 127});
  check_array<std::uint8_t>(session, {0, 255});
  check_array<std::int16_t>(session, {-32768, 1, 32767});
  check_array<std::uint16_t>(session, {0, 65535});
  check_array<std::int32_t>(session, {std::numeric_limits<std::int32_t>::min(), 5});
  check_array<std::uint32_t>(session, {0, std::numeric_limits<std::uint32_t>::max()});
  check_array<std::int64_t>(session, {std::numeric_limits<std::int64_t>::min(), 5});
  check_array<std::uint64_t>(session, {0, std::numeric_limits<std::uint64_t>::max()});
  check_array<float>(session, {0.1F, -2.5F, std::numeric_limits<float>::max()});
  check_array<double>(session, {0.1, -2.5, std::numeric_limits<double>::denorm_min()});

  const wslink::document odd = session.call("test.bytes", 10, 1);
  FAILS(kind, odd.get<wslink::array_view<float>>(&err);
        CHECK(std::string_view(err.message()).find("10 bytes is no array of f32, which has 4 bytes") !=
              std::string_view::npos));
  THROWS(kind, odd.get<wslink::array_view<double>>());
  CHECK(!odd.result().get_if<wslink::array_view<float>>());
  CHECK_EQ(odd.get<wslink::array_view<std::int16_t>>().size(), 5U);
  const wslink::document list = session.call("test.echo", 1.5);
  FAILS(kind, list["args"].get<wslink::array_view<double>>(&err));
  FAILS(not_found, list["none"].get<wslink::array_view<double>>(&err));
  const wslink::document none = session.call("test.bytes", 0, 1);
  CHECK(none.get<wslink::array_view<double>>().empty());
}

SERVER_TEST(binary_data_arrives_and_is_sent) {
  const wslink::session session = check::ready(url);
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{5'000'000}}) {
    const wslink::document came = session.call("test.bytes", size, 9);
    CHECK(came.result().is_bytes() && came.size() == size);
    CHECK(check::is_pattern(came.get<wslink::bytes_view>(), size, 9));
    CHECK(check::is_pattern(came.get<wslink::buffer>(), size, 9));
    CHECK(came.get<std::vector<std::uint8_t>>() == check::pattern(size, 9));
    CHECK(came.get<wslink::bytes_view>().data() == came.get<wslink::buffer>().data() || size == 0); // no copy
  }
  const auto data = check::pattern(70'000, 2);
  CHECK(back(session, data) == data);
  const std::array<std::byte, 3> bytes{std::byte{1}, std::byte{255}, std::byte{0}};
  CHECK((echo(session, bytes)["args"][0].get<std::vector<std::uint8_t>>() == std::vector<std::uint8_t>{1, 255, 0}));
  CHECK(echo(session, wslink::bytes_view(data.data(), 5))["args"][0].size() == 5);
  const wslink::document nested = session.call("myprotocol.nested.image");
  CHECK((nested["bytesList"][1].get<std::vector<std::uint8_t>>() == std::vector<std::uint8_t>{5, 6, 7, 8, 9, 10}));
  CHECK_EQ(nested["image"]["blob"].get<wslink::bytes_view>().sub(1, 3).as_text(), "PNG");
  CHECK(nested["image"]["blob"].get<wslink::bytes_view>().sub(1 << 20).empty());
  // A list of numbers can be read as bytes if each number is one byte.
  CHECK((echo(session, std::vector<int>{1, 255})["args"][0].get<std::vector<std::uint8_t>>()[1] == 255));
  CHECK(!echo(session, std::vector<int>{1, 256})["args"][0].get_if<std::vector<std::uint8_t>>());
  CHECK(!session.call("test.echo", "text")["args"][0].get_if<wslink::buffer>());
}

SERVER_TEST(what_only_one_protocol_has) {
  const wslink::session session = check::ready(url);
  const wslink::document keys = session.call("test.value", "keys");
  CHECK_EQ(keys["k"].get<std::string>(), "str");
  if (url.protocol == 1) {
    CHECK_EQ(keys["7"].get<std::string>(), "int"); // JSON converts all keys to strings
    const wslink::document big = session.call("test.value", "10**30");
    CHECK_EQ(big.get<wslink::big_integer_view>().digits, "1000000000000000000000000000000");
    CHECK(big.kind() == wslink::kind::big_integer && !big.result().get_if<std::int64_t>());
    CHECK_EQ(big.get<double>(), 1e30);
    FAILS(unsupported, session.call("test.echo", wslink::ext(5, wslink::bytes_view("abc", 3)), &err));
    return;
  }
  CHECK_EQ(keys[7].get<std::string>(), "int");
  std::string kinds;
  for (const auto &pair : keys.items())
    kinds += std::string(to_text(pair.key.kind())) + ",";
  CHECK_EQ(kinds, "int,int,null,bool,bool,float,string,bytes,array,");
  CHECK(!(keys.result().get_if<std::map<std::string, std::string>>()));

  const wslink::document exts = session.call("test.value", "ext");
  CHECK(exts[0].get<wslink::ext_view>().type == 0 && exts[0].get<wslink::ext_view>().data.empty());
  const auto five = exts[1].get<wslink::ext_view>();
  CHECK(five.type == 5 && (five.data.to_vector() == std::vector<std::uint8_t>{1, 2, 3}));
  CHECK(exts[2].get<wslink::ext_view>().type == 127 && check::is_pattern(exts[2].get<wslink::ext_view>().data, 300));
  const wslink::document sent = session.call("test.echo", wslink::ext(5, wslink::bytes_view("\1\2\3", 3)));
  CHECK_EQ(text_of(sent["args"]), "[{\"$ext\": 5, \"data\": \"010203\"}]");
}

SERVER_TEST(a_document_reads_as_its_value) {
  const wslink::session session = check::ready(url);
  const wslink::document info = session.call("test.info");
  CHECK_EQ(info["protocol"].get<int>(), url.protocol);
  CHECK_EQ(info.root()["result"]["protocol"].get<int>(), url.protocol);
  CHECK(info.wire_size() > 50 && info.kind() == wslink::kind::map);
  int pairs = 0;
  for (const auto &[key, value] : info.items())
    pairs += key && value;
  for (const wslink::value v : info)
    pairs += static_cast<bool>(v);
  CHECK_EQ(pairs, 10);
  // A temporary lives until the end of the expression.
  CHECK_EQ(session.call("test.info")["protocol"].get<int>(), url.protocol);
}

TEST(lists_of_strings_in_one_step) {
  std::vector<std::string> many(150);
  for (std::size_t i = 0; i < many.size(); i++)
    many[i] = std::string(i, 'x');
  std::string text = "[";
  for (const std::string &one : many)
    text += '"' + one + "\",";
  const auto decode = [](const std::string &list) {
    return wslink::document::decode({list.data(), list.size()}, wslink::encoding::json);
  };
  wslink::document list = decode(text + "\"end\"]");
  many.emplace_back("end");
  CHECK(list.root().get<std::vector<std::string>>() == many);
  CHECK(list.root().get<std::vector<std::string_view>>().size() == many.size());
  CHECK(list.root().get<std::vector<std::string_view>>().back() == "end");
  std::vector<std::string> seen;
  CHECK(list.each_string([&](std::string_view one) { seen.emplace_back(one); }) && seen == many);

  // It stops at a value that is not a string, and returns false.
  list = decode(text + "5, \"behind\"]");
  seen.clear();
  CHECK(!list.root().each_string([&](std::string_view one) { seen.emplace_back(one); }) && seen.size() == 150);
  FAILS(kind, list.root().get<std::vector<std::string>>(&err));
  list = decode("[\"a\", true, 5]");
  FAILS(kind, list.root().get<std::vector<std::string>>(&err));
  list = decode("[\"a\", true]");
  CHECK((list.root().get<std::vector<std::string>>() == std::vector<std::string>{"a", "yes"}));
  CHECK((decode("[null, 2]").root().get<std::vector<float>>() == std::vector<float>{-1, 2}));
  CHECK((decode("[null, 2]").root().get<std::array<float, 2>>() == std::array<float, 2>{-1, 2}));
  // An array has a fixed length, also where numbers are copied.
  for (const char *other : {"[1]", "[1, 2, 3]", "[]", "{}", "2", "[1, null]"})
    CHECK(!decode(other).root().get_if<std::array<double, 2>>());
  CHECK((decode("[1, 2]").root().get<std::array<double, 2>>() == std::array<double, 2>{1, 2}));
  CHECK((decode("[]").root().get_if<std::array<double, 0>>().has_value()));
  const auto never = [](std::string_view) { CHECK(false); };
  CHECK(decode("[]").root().each_string(never) && !decode("{}").root().each_string(never));
  CHECK(!decode("\"text\"").root().each_string(never) && !wslink::value().each_string(never));
}

TEST(a_message_at_hand_is_decoded) {
  const std::string text = R"({"id": "x", "result": {"list": [1, 2.5, "three"], "big": 10000000000000000000000}})";
  wslink::document json = wslink::document::decode({text.data(), text.size()}, wslink::encoding::json);
  CHECK_EQ(json["list"][2].get<std::string>(), "three");
  CHECK_EQ(json["big"].get<wslink::big_integer_view>().digits, "10000000000000000000000");
  const wslink::document packed = wslink::document::decode({"\x93\x01\xa2hi\xc0", 6}, wslink::encoding::msgpack);
  CHECK(packed.size() == 3 && packed[1].get<std::string_view>() == "hi" && packed[2].is_null());
  CHECK(packed.wire_size() == 6);
  FAILS(json, wslink::document::decode({"[1,", 3}, wslink::encoding::json, &err));
  FAILS(protocol, wslink::document::decode({"\x93", 1}, wslink::encoding::msgpack, &err));
}

} // namespace
