// The wrapper copies no attachment and allocates nothing for each value. The program counts the allocations of its own
// code, which includes those of the header-only wrapper.

#include "check.hpp"

#include <chrono>
#include <new>

using namespace std::chrono_literals;

namespace {

thread_local bool counting = false;
thread_local std::size_t allocations = 0;
thread_local std::size_t largest = 0;

void *counted(std::size_t size) {
  if (counting) {
    ++allocations;
    largest = size > largest ? size : largest;
  }
  if (void *memory = std::malloc(size ? size : 1))
    return memory;
  std::abort();
}

// Counts the allocations of this thread during its lifetime.
struct count {
  count() {
    allocations = largest = 0;
    counting = true;
  }
  ~count() { counting = false; }
};

wslink::document numbers_and_names(int n) {
  std::string text = "[";
  for (int i = 0; i < n; ++i)
    text += (i ? ", " : "") + std::string(R"({"id": )") + std::to_string(i) +
            R"(, "name": "a name that is no small string"})";
  text += "]";
  const auto *bytes = reinterpret_cast<const std::uint8_t *>(text.data());
  return wslink::document::decode(wslink::bytes_view(bytes, text.size()), wslink::encoding::json);
}

} // namespace

void *operator new(std::size_t size) { return counted(size); }
void *operator new[](std::size_t size) { return counted(size); }
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete[](void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void *memory, std::size_t) noexcept { std::free(memory); }

TEST(the_count_counts) {
  const count here;
  delete new int(1);
  CHECK_EQ(allocations, std::size_t(1));
}

TEST(reading_values_allocates_nothing) {
  const wslink::document document = numbers_and_names(1000);
  const count here;
  std::int64_t ids = 0;
  std::size_t letters = 0, keys = 0;
  for (const wslink::value &record : document.root()) {
    ids += record["id"].get<std::int64_t>();
    letters += record["name"].get<std::string_view>().size();
    for (const auto &[key, value] : record.items())
      keys += key.get<std::string_view>().size() + !value;
  }
  CHECK_EQ(ids, std::int64_t(999 * 1000 / 2));
  CHECK_EQ(letters, std::size_t(1000 * 30));
  CHECK_EQ(keys, std::size_t(1000 * 6));
  CHECK_EQ(allocations, std::size_t(0));
}

TEST(a_list_of_numbers_becomes_a_vector_in_one_allocation) {
  std::string text = "[0";
  for (int i = 1; i < 1000; ++i)
    text += ", " + std::to_string(i) + ".5";
  text += "]";
  const auto *bytes = reinterpret_cast<const std::uint8_t *>(text.data());
  const wslink::document list =
      wslink::document::decode(wslink::bytes_view(bytes, text.size()), wslink::encoding::json);
  const count here;
  const auto numbers = list.root().get<std::vector<double>>();
  CHECK_EQ(allocations, std::size_t(1));
  CHECK(numbers.size() == 1000 && numbers[999] == 999.5);
}

SERVER_TEST(an_attachment_is_never_copied) {
  constexpr std::size_t size = 1'000'000;
  wslink::session session = check::ready(url);
  std::size_t outermost = 0;
  {
    const count here;
    const wslink::document reply = session.call("test.bytes", size);
    const auto seen = reply.result().get<wslink::bytes_view>();
    const auto kept = reply.result().get<wslink::buffer>();
    CHECK(seen.size() == size && kept.data() == seen.data());
    outermost = largest;
  }
  CHECK(outermost < 4096);

  std::vector<std::uint8_t> up(size, 1);
  const std::uint8_t *place = up.data();
  auto lent = wslink::by_reference(std::move(up));
  const count here;
  CHECK_EQ(session.call("test.sum", std::move(lent)).result()["len"].get<std::size_t>(), size);
  CHECK(place && largest < 4096);
}
