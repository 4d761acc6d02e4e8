// Headers compile in any order and twice; the includes are most of the test.

#include <wslink/args.hpp>
#include <wslink/call.hpp>
#include <wslink/config.hpp>
#include <wslink/convert.hpp>

#include <wslink.h> // once more, by itself
#include <wslink.hpp>

#include "check.hpp"

TEST(the_header_and_the_library_fit) {
  CHECK(wslink::check_version());
  CHECK_EQ(wslink_str_from("abc").len, 3);
  CHECK_EQ(wslink_version(), WSLINK_VERSION_NUMBER);
  CHECK_EQ(std::string_view(to_text(wslink::code::connection_lost)), "connection lost");
  CHECK(*to_text(wslink::stage::hello) && *to_text(wslink::state::ready) && *to_text(wslink::kind::map));
}
