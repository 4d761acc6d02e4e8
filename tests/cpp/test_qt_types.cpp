// Qt's types as arguments and results, and received data as QByteArray and QImage without a copy.

#include <wslink/adapters/qt.hpp>

#include <cmath>
#include <limits>
#include <set>

#include <QtCore/QBuffer>
#include <QtCore/QPoint>
#include <QtCore/QThread>

#include "check.hpp"

namespace {

// The server's echo of one positional argument.
template <class T>
wslink::document echo(const wslink::session &session, const T &value) {
  return session.call("test.echo", value);
}

SERVER_TEST(every_value_becomes_a_qvariant_and_goes_back) {
  const wslink::session session = check::ready(url);
  // Left out: NaN, which is not equal to itself; extensions, which Qt lacks; values that the server refuses.
  const std::set<std::string> other{"nan", "floats", "ext",       "timestamps", "str.surrogate",
                                    "set", "10**30", "list.deep", "map.deep"};
  int seen = 0;
  for (const auto &name : session.call("test.value").get<std::vector<std::string>>()) {
    if (other.count(name))
      continue;
    const wslink::document sent = session.call("test.value", name);
    const auto variant = sent.get<QVariant>();
    const bool same = echo(session, variant)["args"][0].get<QVariant>() == variant;
    const auto json = sent.get<QJsonValue>();
    const bool same_json = echo(session, json)["args"][0].get<QJsonValue>() == json;
    if (!CHECK(same && same_json))
      std::printf("  it is %s\n", name.c_str());
    ++seen;
  }
  CHECK(seen > 40);
}

SERVER_TEST(values_are_what_they_were) {
  const wslink::session session = check::ready(url);
  const auto get = [&](const char *name) { return session.call("test.value", name).get<QVariant>(); };
  CHECK(get("none").userType() == QMetaType::Nullptr);
  CHECK(get("true") == QVariant(true) && get("true").userType() == QMetaType::Bool);
  CHECK(get("2**63-1") == QVariant(std::numeric_limits<qlonglong>::max()));
  CHECK(get("-2**63") == QVariant(std::numeric_limits<qlonglong>::min()));
  CHECK(get("2**64-1") == QVariant(std::numeric_limits<qulonglong>::max()));
  CHECK(std::isnan(get("nan").toDouble()) && std::isinf(get("-inf").toDouble()));
  CHECK(std::signbit(get("-0.0").toDouble()));
  CHECK(get("str.latin") == QVariant(QString::fromUtf8("Gr\xc3\xb6\xc3\x9f\x65")));
  CHECK(get("bytes.1000").toByteArray().size() == 1000);
  const QVariantMap keys = get("keys").toMap();
  CHECK(keys.value("7") == QVariant("int") && keys.value("-7") == QVariant("negative"));
  CHECK(keys.value("null") == QVariant("nil") && keys.value("k") == QVariant("str"));
  const auto records = session.call("test.value", "list.records").get<QJsonArray>();
  CHECK(records.size() == 1000 && records[7].toObject().value("name") == QJsonValue("record 7"));
  CHECK(session.call("test.value", "bytes.1").get<QJsonValue>() == QJsonValue("AA"));
  CHECK_EQ(session.call("test.value", "list.ints").get<QVector<double>>().size(), 100'000);
  CHECK(session.call("test.value", "list.ints").get<QList<int>>().at(1) == int(2654435761LL - (1LL << 31)));
  CHECK(session.call("test.value", "list.floats").get<QVector<double>>().at(10) == 10 * 0.1);

  const auto reply = session.call("test.value", "list.records");
  FAILS(kind, reply.get<QString>(&err));
  FAILS(kind, reply.get<QByteArray>(&err));
  FAILS(kind, reply.get<QJsonObject>(&err));
  FAILS(kind, reply.get<QStringList>(&err));
  FAILS(kind, reply.get<QVector<double>>(&err));
  FAILS(not_found, reply["none"].get<QVariant>(&err));
  if (url.protocol == 2) {
    FAILS(kind, session.call("test.value", "ext").get<QVariant>(&err));
    FAILS(kind, session.call("test.value", "ext").get<QJsonValue>(&err));
  }
}

SERVER_TEST(arguments_arrive_as_what_they_are) {
  const wslink::session session = check::ready(url);
  using wslink::kind;
  QVariantMap map{{"a", 1}, {"b", QVariantList{2.5, "x", QVariant()}}, {"c", QByteArray("\0\1", 2)}};
  const auto r =
      session.call("test.echo", QChar(0xfeff) + QString::fromUtf8("Gr\xc3\xb6\xc3\x9f\x65"), map,
                   QJsonObject{{"three", 3.0}, {"half", 0.5}, {"big", 1e300}}, QStringList{"p", "q"},
                   QVector<double>{1, 2}, QVector<int>{3, 4}, QJsonValue(), QVariant(), QVariantHash{{"h", true}},
                   QMap<QString, double>{{"m", 1.5}}, wslink::kw("key", QJsonArray{1, "two", QJsonValue::Null}));
  const wslink::value a = r["args"];
  CHECK(a[0].get<std::string>() == "\xef\xbb\xbfGr\xc3\xb6\xc3\x9f\x65");
  CHECK(a[0].get<QString>().size() == 6);
  CHECK(a[1].get<QVariantMap>() == QVariantMap({{"a", qlonglong(1)},
                                                {"b", QVariantList{2.5, "x", QVariant::fromValue(nullptr)}},
                                                {"c", QByteArray("\0\1", 2)}}));
  CHECK(a[2]["three"].kind() == kind::integer && a[2]["half"].get<double>() == 0.5);
  CHECK(a[2]["big"].get<double>() == 1e300);
  CHECK(a[3].get<QStringList>() == QStringList({"p", "q"}));
  CHECK(a[4].get<QVector<double>>() == QVector<double>({1, 2}) && a[4][0].kind() == kind::floating);
  CHECK(a[5].get<QVector<int>>() == QVector<int>({3, 4}) && a[5][0].kind() == kind::integer);
  CHECK(a[6].is_null() && a[7].is_null());
  CHECK(a[8]["h"].get<bool>() && a[9]["m"].get<double>() == 1.5);
  CHECK(r["kwargs"]["key"].get<QJsonArray>() == QJsonArray({1, "two", QJsonValue::Null}));

  FAILS(argument, session.call("test.echo", QVariant(QPoint(1, 2)), &err));
  FAILS(argument, session.call("test.echo", QVariantList{1, QPoint(1, 2)}, &err));
}

SERVER_TEST(a_qbytearray_is_sent_as_it_was) {
  const wslink::session session = check::ready(url);
  const auto pattern = check::pattern(300'000);
  QByteArray data(reinterpret_cast<const char *>(pattern.data()), 300'000);
  wslink::args arguments;
  arguments.add(data);
  data.fill('x'); // detaches: it has its own memory from now on
  const auto reply = session.call("test.echo", std::move(arguments));
  CHECK(check::is_pattern(reply["args"][0].get<wslink::bytes_view>(), 300'000));

  std::vector<char> foreign(70'000, 'a');
  wslink::args borrowed;
  borrowed.add(QByteArray::fromRawData(foreign.data(), 70'000));
  foreign.assign(70'000, 'b');
  foreign.clear();
  foreign.shrink_to_fit();
  CHECK(session.call("test.echo", std::move(borrowed))["args"][0].get<QByteArray>() == QByteArray(70'000, 'a'));
  CHECK(session.call("test.echo", QByteArray())["args"][0].get<QByteArray>().isEmpty());
}

SERVER_TEST(a_byte_array_is_not_copied_and_outlives_the_session) {
  auto session = std::make_unique<wslink::session>(check::ready(url));
  auto data = session->call("test.bytes", 100'000, 3).get<wslink::buffer>();
  const std::uint8_t *place = data.data();
  wslink::qt::byte_array kept(std::move(data));
  session.reset();
  const wslink::qt::byte_array moved = std::move(kept);
  const QByteArray &view = moved.get();
  CHECK(reinterpret_cast<const std::uint8_t *>(view.constData()) == place);
  CHECK(check::is_pattern(wslink::bytes_view(view.constData(), 100'000), 100'000, 3));
  QByteArray changed = view;
  changed[0] = 'x';
  CHECK(check::is_pattern(wslink::bytes_view(view.constData(), 100'000), 100'000, 3));
  QBuffer device;
  device.setData(view);
  CHECK(device.open(QIODevice::ReadOnly) && device.read(10).size() == 10);
  const wslink::qt::byte_array empty{wslink::buffer()};
  CHECK(empty.get().isEmpty());
}

SERVER_TEST(an_image_is_not_copied_and_outlives_the_session) {
  auto session = std::make_unique<wslink::session>(check::ready(url));
  auto data = session->call("test.bytes", 64 * 48 * 3 + 5).get<wslink::buffer>();
  const std::uint8_t *place = data.data();
  QImage image = wslink::qt::image(data.share(), 64, 48, 64 * 3, QImage::Format_RGB888);
  data = wslink::buffer();
  session.reset();
  CHECK(image.constBits() == place && image.width() == 64 && image.height() == 48);
  CHECK(check::is_pattern(wslink::bytes_view(image.constBits(), 64 * 48 * 3), 64 * 48 * 3));
  QImage changed = image;
  changed.setPixelColor(0, 0, Qt::white);
  CHECK(image.constBits() == place && changed.constBits() != place);
  CHECK(check::is_pattern(wslink::bytes_view(image.constBits(), 64 * 48 * 3), 64 * 48 * 3));
  // Another thread releases the last copy.
  QThread *thread = QThread::create([copy = std::move(image)]() mutable { copy = QImage(); });
  thread->start();
  CHECK(thread->wait());
  delete thread;
}

SERVER_TEST(pixels_that_lie_badly_are_copied) {
  const wslink::session session = check::ready(url);
  // At eight consecutive addresses, most of which are not multiples of four.
  int shared = 0, copied = 0;
  for (int i = 0; i < 8; ++i) {
    const auto reply = session.call("test.echo", std::string(static_cast<std::size_t>(i), 'x'), check::pattern(64));
    auto data = reply["args"][1].get<wslink::buffer>();
    const std::uint8_t *place = data.data();
    const QImage image = wslink::qt::image(std::move(data), 4, 4, 16, QImage::Format_RGBA8888);
    CHECK(check::is_pattern(wslink::bytes_view(image.constBits(), 64), 64));
    CHECK(reinterpret_cast<std::uintptr_t>(image.constBits()) % 4 == 0);
    ++(image.constBits() == place ? shared : copied);
  }
  CHECK(shared > 0 && (url.protocol == 1 || copied > 0));
}

SERVER_TEST(an_image_that_cannot_be_is_refused) {
  const wslink::session session = check::ready(url);
  const auto data = session.call("test.bytes", 100).get<wslink::buffer>();
  const auto make = [&](int width, int height, int stride, QImage::Format format, wslink::error &err) {
    CHECK(wslink::qt::image(data.share(), width, height, stride, format, &err).isNull());
  };
  FAILS(argument, make(10, 11, 10, QImage::Format_Grayscale8, err)); // too small
  FAILS(argument, make(10, 2, 9, QImage::Format_Grayscale8, err));   // lines too short
  FAILS(argument, make(0, 1, 4, QImage::Format_Grayscale8, err));
  FAILS(argument, make(1, -1, 4, QImage::Format_Grayscale8, err));
  FAILS(argument, make(1, 1, 0, QImage::Format_Grayscale8, err));
  FAILS(argument, make(10, 10, 10, QImage::Format_Invalid, err));
  THROWS(argument, wslink::qt::image(wslink::buffer(), 1, 1, 4, QImage::Format_RGB32));
  wslink::error err;
  CHECK(!wslink::qt::image(data.share(), 10, 10, 10, QImage::Format_Grayscale8, &err).isNull() && !err);
}

} // namespace
