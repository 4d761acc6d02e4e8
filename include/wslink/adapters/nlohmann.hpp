/// @file
/// wslink with nlohmann::json (3.8 and later): JSON as arguments and as results. Not part of wslink.hpp; a program that
/// includes it links nlohmann_json itself. Works with every basic_json; ordered_json keeps the order of maps.
///
///     #include <wslink/adapters/nlohmann.hpp>
///
///     nlohmann::json size = {{"width", 640}, {"height", 480}};
///     auto reply = session.call("render", "png", size).get<nlohmann::json>();   // one argument each
///     session.call("render", wslink::args_from(list, object));                  // all arguments at once
///
/// **Received values** are converted as by `json::parse()` and `json::from_msgpack()`:
/// - integers become unsigned numbers if they are not negative, and the nearest double if they have more than 64 bits
///   (the digits are in big_integer_view);
/// - floats are unchanged, including NaN and the infinities, which `dump()` writes as null;
/// - binary data becomes `json::binary`, copied (a wslink::buffer is not copied);
/// - extensions become `json::binary` with the type as subtype, from 0 to 255: type -1 is 255;
/// - keys of maps that are not strings are converted as by Python's `json.dumps`, which a server of protocol 1 uses,
///   too: `7` becomes "7", None "null". Binary keys become hexadecimal digits, lists and other kinds their JSON text.
///   The last of several equal keys counts.
///
/// **Arguments** are converted in the opposite direction: binary data is sent as bytes, with a subtype as an extension
/// (protocol 2 only). Discarded values, subtypes above 255 and more than 2048 levels make the call fail.

#ifndef WSLINK_ADAPTERS_NLOHMANN_HPP
#define WSLINK_ADAPTERS_NLOHMANN_HPP

#include <cmath>

#include <nlohmann/json.hpp>

#include "../args.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {
namespace detail {

template <class T>
inline constexpr bool is_nlohmann = nlohmann::detail::is_basic_json<T>::value;

/// The deepest nesting that the library reads.
inline constexpr unsigned most_levels = 2048;

/// A key of a map as text: as by Python's json.dumps, if that accepts it.
inline std::string key_text(const value &key) {
  std::string_view text;
  bytes_view data;
  if (convert(key, text))
    return std::string(text);
  if (convert(key, data)) {
    constexpr const char *digits = "0123456789abcdef";
    std::string hex;
    for (const std::uint8_t byte : data)
      hex.append(1, digits[byte >> 4]).append(1, digits[byte & 15]);
    return hex;
  }
  double number = 0;
  if (key.kind() == kind::floating && convert(key, number) && !std::isfinite(number))
    return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity";
  return std::string(key.to_json(json_style::tagged).text());
}

template <class Json>
Json to_nlohmann(const value &from) {
  switch (from.kind()) {
  case kind::boolean:
    return Json(from.get<bool>());
  case kind::integer: {
    const auto number = from.get<std::int64_t>();
    if (number < 0)
      return Json(static_cast<typename Json::number_integer_t>(number));
    return Json(static_cast<typename Json::number_unsigned_t>(number));
  }
  case kind::uinteger:
    return Json(static_cast<typename Json::number_unsigned_t>(from.get<std::uint64_t>()));
  case kind::floating:
  case kind::big_integer:
    return Json(static_cast<typename Json::number_float_t>(from.get<double>()));
  case kind::string: {
    const auto text = from.get<std::string_view>();
    return Json(typename Json::string_t(text.data(), text.size()));
  }
  case kind::bytes: {
    const auto data = from.get<bytes_view>();
    return Json::binary(typename Json::binary_t::container_type(data.begin(), data.end()));
  }
  case kind::ext: {
    const auto ext = from.get<ext_view>();
    return Json::binary(typename Json::binary_t::container_type(ext.data.begin(), ext.data.end()),
                        static_cast<std::uint8_t>(ext.type));
  }
  case kind::array: {
    typename Json::array_t list;
    list.reserve(from.size());
    for (const value &element : from)
      list.push_back(to_nlohmann<Json>(element));
    return Json(std::move(list));
  }
  case kind::map: {
    typename Json::object_t map;
    for (const value::item &pair : from.items())
      map[key_text(pair.key)] = to_nlohmann<Json>(pair.value);
    return Json(std::move(map));
  }
  case kind::null:
  case kind::nothing:
    break;
  }
  return Json();
}

/// Adds a JSON value. Binary data is copied if `from` is const, otherwise moved.
template <class Json>
void add_nlohmann(args &to, Json &from, unsigned levels = most_levels) {
  using plain = std::remove_const_t<Json>;
  using type = typename plain::value_t;
  if (to.failure())
    return;
  switch (from.type()) {
  case type::null:
    to.add(nullptr);
    break;
  case type::boolean:
    to.add(*from.template get_ptr<const typename plain::boolean_t *>());
    break;
  case type::number_integer:
    to.add(*from.template get_ptr<const typename plain::number_integer_t *>());
    break;
  case type::number_unsigned:
    to.add(*from.template get_ptr<const typename plain::number_unsigned_t *>());
    break;
  case type::number_float:
    to.add(*from.template get_ptr<const typename plain::number_float_t *>());
    break;
  case type::string: {
    const auto &text = *from.template get_ptr<const typename plain::string_t *>();
    to.add(std::string_view(text.data(), text.size()));
    break;
  }
  case type::binary: {
    auto &data = from.get_binary();
    if (!data.has_subtype()) {
      if constexpr (std::is_const_v<Json>) {
        to.add(static_cast<const typename plain::binary_t::container_type &>(data));
      } else {
        to.add(by_reference(static_cast<typename plain::binary_t::container_type &&>(std::move(data))));
      }
    } else if (data.subtype() <= 255) {
      to.add(ext(static_cast<std::int8_t>(data.subtype()), bytes_view(data.data(), data.size())));
    } else {
      to.fail(error(code::argument, "JSON: a binary subtype above 255 is no type of a msgpack extension"));
    }
    break;
  }
  case type::array:
  case type::object:
    if (levels == 0) {
      to.fail(error(code::limit, "JSON: more than 2048 levels"));
    } else if (from.is_array()) {
      to.begin_list();
      for (auto &element : from)
        add_nlohmann(to, element, levels - 1);
      to.end();
    } else {
      to.begin_map();
      for (auto pair = from.begin(); pair != from.end(); ++pair) {
        to.key(pair.key());
        add_nlohmann(to, pair.value(), levels - 1);
      }
      to.end();
    }
    break;
  case type::discarded:
    to.fail(error(code::json, "JSON: a discarded value, which is what a failed parse returns"));
    break;
  }
}

template <class Json>
using const_unless_moved =
    std::conditional_t<std::is_lvalue_reference_v<Json>, const std::remove_reference_t<Json>, Json>;

template <class Json>
void add_positional(args &to, Json &list) {
  if (list.is_array()) {
    for (auto &element : list)
      add_nlohmann(to, element);
  } else if (!list.is_null()) {
    to.fail(error(code::argument, "JSON: positional arguments must be an array"));
  }
}
template <class Json>
void add_keywords(args &to, Json &object) {
  if (object.is_object()) {
    for (auto pair = object.begin(); pair != object.end(); ++pair) {
      to.keyword(pair.key());
      add_nlohmann(to, pair.value());
    }
  } else if (!object.is_null()) {
    to.fail(error(code::argument, "JSON: keyword arguments must be an object"));
  }
}

} // namespace detail

/// JSON from a value: `get<nlohmann::json>()` of values, replies and publications, also within containers. The result
/// does not depend on the document.
template <class Json>
struct from_value<Json, std::enable_if_t<detail::is_nlohmann<Json>>> {
  /// False only for an empty view.
  static bool get(const value &from, Json &to) {
    to = detail::to_nlohmann<Json>(from);
    return static_cast<bool>(from);
  }
};

/// JSON as one argument: `session.call("m", json)`. Copied.
template <class Json>
struct to_args<Json, std::enable_if_t<detail::is_nlohmann<Json>>> {
  /// Adds the value. If it cannot be sent, the call fails.
  static void add(args &to, const Json &from) { detail::add_nlohmann(to, from); }
};

/// All arguments of a call, from an array of positional arguments. Null means no arguments; any other value makes the
/// call fail. If the JSON is moved (`std::move(list)`), its binary data is sent without a copy.
template <class Json, class = std::enable_if_t<detail::is_nlohmann<std::decay_t<Json>>>>
args args_from(Json &&positional) {
  args made;
  detail::add_positional<detail::const_unless_moved<Json>>(made, positional);
  return made;
}
/// All arguments of a call, from an array of positional arguments and an object of keyword arguments.
template <class Json, class Keywords, class = std::enable_if_t<detail::is_nlohmann<std::decay_t<Json>>>,
          class = std::enable_if_t<detail::is_nlohmann<std::decay_t<Keywords>>>>
args args_from(Json &&positional, Keywords &&keywords) {
  args made = args_from(std::forward<Json>(positional));
  detail::add_keywords<detail::const_unless_moved<Keywords>>(made, keywords);
  return made;
}

} // namespace WSLINK_CPP_ABI
} // namespace wslink

/// Implicit conversion of values: `nlohmann::json j = publication.result();`, as by value::get<nlohmann::json>().
template <>
struct nlohmann::adl_serializer<wslink::value> {
  /// Fails for an empty view.
  template <class Json>
  static void to_json(Json &to, const wslink::value &from) {
    to = from.get<Json>();
  }
};

#endif // WSLINK_ADAPTERS_NLOHMANN_HPP
