/// @file
/// wslink with Qt (6, and 5.15): callbacks run by the Qt event loop, Qt's types as arguments and results, received data
/// as QByteArray and QImage without a copy. Not part of wslink.hpp; a program that includes it links Qt itself: QtCore,
/// and QtGui for images. No moc is needed.
///
///     #include <wslink/adapters/qt.hpp>
///
///     class window : public QMainWindow {
///       wslink::qt::dispatcher dispatcher_;
///       wslink::config config_{"ws://localhost:8080/ws"};
///       wslink::session session_ = dispatcher_.make_session(config_);
///       ...
///     };
///
/// **What arrives**: `get<QString>()`, `get<QByteArray>()` (a copy; get<buffer>() is none), `get<QVariant>()`,
/// `get<QJsonValue>()`, and QJsonObject, QJsonArray, QVariantMap, QStringList, QList<int> and the like.
/// - In a QVariant binary data is a QByteArray (a copy). JSON has no binary data: it becomes base64url text, as by
///   QJsonValue::fromVariant().
/// - Map keys that are no strings become their JSON text: `7` is "7", None is "null".
/// - Integers beyond 64 bit become the nearest double; Qt 5 keeps all numbers of JSON as doubles.
/// - Extensions have no place in Qt's types: the conversion fails.
///
/// **What is sent**: QString, QByteArray (binary data, not copied), QVariant and QJsonValue with what is in them,
/// lists, and maps with QString keys. JSON numbers without a fraction are sent as integers, as Qt writes them. A
/// QVariant with a type that has no form in JSON or msgpack makes the call fail.

#ifndef WSLINK_ADAPTERS_QT_HPP
#define WSLINK_ADAPTERS_QT_HPP

#include <cmath>

#include <QtCore/QByteArray>
#include <QtCore/QCoreApplication>
#include <QtCore/QEvent>
#include <QtCore/QHash>
#include <QtCore/QJsonArray>
#include <QtCore/QJsonObject>
#include <QtCore/QJsonValue>
#include <QtCore/QList>
#include <QtCore/QMap>
#include <QtCore/QObject>
#include <QtCore/QString>
#include <QtCore/QStringList>
#include <QtCore/QVariant>
#include <QtCore/QVector>
#ifdef QT_GUI_LIB // defined by everything that makes a program use QtGui: CMake, qmake, pkg-config
#include <QtGui/QImage>
#endif

#include "../event_source.hpp"

namespace wslink {
inline namespace WSLINK_CPP_ABI {
namespace detail {

/// Sizes in Qt: int in Qt 5.
using qt_size = decltype(QByteArray().size());

inline bool fits_qt(std::size_t size) noexcept {
  return size <= static_cast<std::make_unsigned_t<qt_size>>(std::numeric_limits<qt_size>::max());
}
inline QString to_qstring(std::string_view text) {
  QString made = QString::fromUtf8(text.data(), static_cast<qt_size>(text.size()));
  if (text.substr(0, 3) == "\xEF\xBB\xBF") // which Qt leaves out
    made.prepend(QChar(0xFEFF));
  return made;
}

/// Calls an object to its event loop, from any thread.
class qt_bell {
public:
  /// From now on it is for this object.
  void hang(QObject *to) {
    const std::lock_guard<std::mutex> lock(mutex_);
    to_ = to;
  }
  /// Posts an event to the object, if there is one, unless it has one already.
  void ring() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (to_ && !std::exchange(rung_, true))
      QCoreApplication::postEvent(to_, new QEvent(QEvent::User));
  }
  /// The event has come.
  void answer() {
    const std::lock_guard<std::mutex> lock(mutex_);
    rung_ = false;
  }

private:
  std::mutex mutex_;
  QObject *to_ = nullptr;
  bool rung_ = false;
};

/// Runs the callbacks of one session when its bell rings. An object of its own, because a callback may destroy the
/// dispatcher, but an object that handles an event must not be deleted before it has returned.
class qt_receiver final : public QObject {
public:
  qt_receiver(std::shared_ptr<qt_bell> bell, event_source events, QObject *parent)
      : QObject(parent), bell_(std::move(bell)), events_(std::move(events)) {
    bell_->hang(this);
  }
  /// Runs no more callbacks and is deleted, as soon as that can be.
  void retire() {
    bell_->hang(nullptr);
    retired_ = true;
    setParent(nullptr);
    if (depth_ == 0)
      delete this;
  }
  bool event(QEvent *what) override {
    if (what->type() != QEvent::User)
      return QObject::event(what);
    bell_->answer();
    ++depth_; // an event loop inside a callback comes here again
    events_.run([this] { return !retired_; });
    if (--depth_ == 0 && retired_)
      deleteLater();
    return true;
  }

private:
  std::shared_ptr<qt_bell> bell_;
  event_source events_;
  int depth_ = 0;
  bool retired_ = false;
};

} // namespace detail

/// Qt: the adapter of `wslink/adapters/qt.hpp`.
namespace qt {

/// Runs the callbacks of a session in a Qt event loop: that of the thread that made this object (or that it was moved
/// to). Use it on that thread only. Destroying it anywhere, also inside a callback, is fine.
///
/// - **Woken by the wakeup function** of the config and not by a descriptor and QSocketNotifier, because posting an
///   event works with every event loop of Qt on every platform; Windows has no descriptor. An event is posted when
///   something waits and none is posted already; an idle session costs nothing.
/// - **The session belongs to the program**, which may move it and end it at any time on this thread, inside its own
///   callbacks too. Another thread may end it when the dispatcher is stopped or gone.
/// - **Without dispatcher** (destroyed or stopped first, or while no event loop runs) what comes waits: completions
///   always, publications as their subscription says. session::dispatch() still runs it.
/// - **An event loop inside a callback** (QDialog::exec()) goes on with all events but those of this session, because
///   dispatching is not reentrant. They come when the callback has returned. QDialog::open() does not make them wait.
/// - **Exceptions** that leave a callback never pass through Qt: they go to the hook of set_exception_hook(). Without
///   a hook the program ends by std::terminate.
class dispatcher : public QObject {
public:
  /// For the event loop of this thread. The parent deletes it, as in all of Qt.
  explicit dispatcher(QObject *parent = nullptr) : QObject(parent) {}
  ~dispatcher() override { stop(); }

  /// Makes a session that is not connected yet; its callbacks run in the event loop. Takes the wakeup function of the
  /// config, which must not choose delivery::io_thread. A dispatcher serves one session: the one made before is left as
  /// by stop().
  session make_session(config &options, error *err = nullptr) {
    error failed;
    const auto bell = std::make_shared<wslink::detail::qt_bell>();
    session made = wslink::detail::make_woken_session(
        options, [bell] { bell->ring(); }, failed);
    if (failed) {
      wslink::detail::fail(std::move(failed), err);
      return made;
    }
    stop();
    receiver_ = new wslink::detail::qt_receiver(bell, event_source(made), this);
    if (err)
      err->clear();
    return made;
  }
  /// Runs no more callbacks, also of those that wait already. The session goes on.
  void stop() {
    if (receiver_)
      std::exchange(receiver_, nullptr)->retire();
  }

private:
  wslink::detail::qt_receiver *receiver_ = nullptr;
};

/// Received binary data as a QByteArray that is not copied. QByteArray cannot own foreign memory: get() points to the
/// data, and this object keeps it, so that it must outlive get() *and its copies*, which point there too. What is to
/// live longer is copied: `QByteArray(data.get().constData(), data.get().size())`. Changing a copy copies the data
/// first.
class byte_array {
public:
  /// Takes the buffer over. With Qt 5 it fails with code::limit for 2 GiB and more.
  explicit byte_array(buffer data, error *err = nullptr) : owner_(std::move(data)) {
    if (!wslink::detail::fits_qt(owner_.size())) {
      wslink::detail::fail(error(code::limit, "the data is too large for a QByteArray of this Qt"), err);
      return;
    }
    if (err)
      err->clear();
    array_ = QByteArray::fromRawData(reinterpret_cast<const char *>(owner_.data()),
                                     static_cast<wslink::detail::qt_size>(owner_.size()));
  }
  /// The data. Not followed by a NUL character.
  const QByteArray &get() const &noexcept { return array_; }
  const QByteArray &get() const && = delete; // nothing would keep the data

private:
  buffer owner_;
  QByteArray array_;
};

#ifdef QT_GUI_LIB
/// Received pixels as a QImage that is not copied: the image keeps the buffer, on any thread, as long as it or a copy
/// of it shows these pixels; changing an image copies them first, as always in Qt. `bytes_per_line` is from the begin
/// of one line to that of the next. (PNG, JPEG and the like are decoded by QImage::fromData().)
///
/// Pixels of 16 bit and more must lie at multiples of their size (4 bytes at most), which protocol 2 does not promise:
/// those that do not are copied, once. Formats made of single bytes (RGB888, Grayscale8) never are.
///
/// Fails with code::argument if the buffer is too small or Qt does not accept the numbers.
inline QImage image(buffer pixels, int width, int height, int bytes_per_line, QImage::Format format,
                    error *err = nullptr) {
  const auto refuse = [&](const char *why) {
    wslink::detail::fail(error(code::argument, why), err);
    return QImage();
  };
  if (width <= 0 || height <= 0 || bytes_per_line <= 0)
    return refuse("an image needs a size and a number of bytes per line");
  if (pixels.size() / static_cast<std::size_t>(bytes_per_line) < static_cast<std::size_t>(height))
    return refuse("the buffer is too small for an image of this size");
  const std::uint8_t *data = pixels.data();
  auto *owner = const_cast<wslink_buffer *>(pixels.c_ptr());
  QImage made(data, width, height, bytes_per_line, format, wslink::detail::unref_buffer, owner);
  if (made.isNull())
    return refuse("Qt accepts no image of this size, format and number of bytes per line");
  pixels.release(); // the image has it
  const int depth = made.depth();
  const std::uintptr_t unit = depth % 32 == 0 ? 4 : depth == 16 ? 2 : 1;
  if (reinterpret_cast<std::uintptr_t>(data) % unit || static_cast<unsigned>(bytes_per_line) % unit)
    made = made.copy();
  if (err)
    err->clear();
  return made;
}
#endif

} // namespace qt

namespace detail {

bool to_qjson(const value &from, QJsonValue &to);
bool to_qvariant(const value &from, QVariant &to);

/// The key of a map as text.
inline QString to_qkey(const value &key) {
  std::string_view text;
  return convert(key, text) ? to_qstring(text) : to_qstring(key.to_json().text());
}

template <class Array, class T>
bool to_qarray(const value &from, Array &to, bool (*convert_one)(const value &, T &)) {
  if (!from.is_array() || !fits_qt(from.size()))
    return false;
  for (const value &element : from) {
    T one;
    if (!convert_one(element, one))
      return false;
    to.append(std::move(one));
  }
  return true;
}
template <class T, class List>
bool to_qlist(const value &from, List &to) {
  if constexpr (is_bulk<T> && has_plain_data<List>::value) {
    std::size_t count = from.size();
    if (!from.is_array() || !fits_qt(count))
      return false;
    to.resize(static_cast<qt_size>(count));
    return copy_numbers(from.c_value(), to.data(), count, &count);
  } else {
    return to_qarray(from, to, convert<T>);
  }
}
template <class Map, class T>
bool to_qmap(const value &from, Map &to, bool (*convert_one)(const value &, T &)) {
  if (!from.is_map())
    return false;
  for (const value::item &pair : from.items()) {
    T one;
    if (!convert_one(pair.value, one))
      return false;
    to.insert(to_qkey(pair.key), std::move(one)); // of equal keys the last one counts
  }
  return true;
}

} // namespace detail

/// Text, `get<QString>()`.
template <>
struct from_value<QString> {
  /// False for what is no text.
  static bool get(const value &from, QString &to) {
    std::string_view text;
    if (!detail::convert(from, text) || !detail::fits_qt(text.size()))
      return false;
    to = detail::to_qstring(text);
    return true;
  }
};

/// Binary data, copied: `get<QByteArray>()`. qt::byte_array does not copy.
template <>
struct from_value<QByteArray> {
  /// False for what is no binary data.
  static bool get(const value &from, QByteArray &to) {
    bytes_view data;
    if (!detail::convert(from, data) || !detail::fits_qt(data.size()))
      return false;
    to = QByteArray(reinterpret_cast<const char *>(data.data()), static_cast<detail::qt_size>(data.size()));
    return true;
  }
};

/// A list: `get<QStringList>()`, `get<QList<double>>()`. Qt 6 keeps numbers in one piece: copied in one step.
template <class T>
struct from_value<QList<T>> {
  /// False if it is no list, or has an element that is not a T.
  static bool get(const value &from, QList<T> &to) { return detail::to_qlist<T>(from, to); }
};
#if QT_VERSION < QT_VERSION_CHECK(6, 0, 0)
/// A list, of numbers in one step: `get<QVector<double>>()`. In Qt 6 it is another name of QList.
template <class T>
struct from_value<QVector<T>> {
  /// False if it is no list, or has an element that is not a T.
  static bool get(const value &from, QVector<T> &to) { return detail::to_qlist<T>(from, to); }
};
/// A list of texts. In Qt 6 it is another name of QList.
template <>
struct from_value<QStringList> {
  /// False if it is no list, or has an element that is no text.
  static bool get(const value &from, QStringList &to) { return detail::to_qlist<QString>(from, to); }
};
#endif

/// A map: `get<QVariantMap>()`, `get<QMap<QString, double>>()`.
template <class T>
struct from_value<QMap<QString, T>> {
  /// False if it is no map, or has a value that is not a T.
  static bool get(const value &from, QMap<QString, T> &to) { return detail::to_qmap(from, to, detail::convert<T>); }
};

/// Any value but extensions: `get<QJsonValue>()`.
template <>
struct from_value<QJsonValue> {
  /// False for a view of nothing, and if there is an extension in it.
  static bool get(const value &from, QJsonValue &to) { return detail::to_qjson(from, to); }
};

/// A list: `get<QJsonArray>()`.
template <>
struct from_value<QJsonArray> {
  /// False if it is no list, or there is an extension in it.
  static bool get(const value &from, QJsonArray &to) { return detail::to_qarray(from, to, detail::to_qjson); }
};

/// A map: `get<QJsonObject>()`.
template <>
struct from_value<QJsonObject> {
  /// False if it is no map, or there is an extension in it.
  static bool get(const value &from, QJsonObject &to) { return detail::to_qmap(from, to, detail::to_qjson); }
};

/// Any value but extensions: `get<QVariant>()`.
template <>
struct from_value<QVariant> {
  /// False for a view of nothing, and if there is an extension in it.
  static bool get(const value &from, QVariant &to) { return detail::to_qvariant(from, to); }
};

namespace detail {

/// What both have a form for; `to` is a QJsonValue or a QVariant.
template <class To>
bool to_qscalar(const value &from, To &to) {
  bool truth = false;
  std::int64_t integer = 0;
  double number = 0;
  QString text;
  if (convert(from, truth))
    to = To(truth);
  else if (convert(from, integer))
    to = To(static_cast<qint64>(integer));
  else if (convert(from, number))
    to = To(number);
  else if (convert(from, text))
    to = To(text);
  else
    return false;
  return true;
}

/// A container, converted and put into a QJsonValue or QVariant.
template <class Container, class To>
bool to_qcontainer(const value &from, To &to) {
  Container made;
  if (!convert(from, made))
    return false;
  to = To(made);
  return true;
}

inline bool to_qjson(const value &from, QJsonValue &to) {
  QByteArray data;
  switch (from.kind()) {
  case kind::nothing:
  case kind::ext:
    return false;
  case kind::null:
    to = QJsonValue(QJsonValue::Null);
    return true;
  case kind::array:
    return to_qcontainer<QJsonArray>(from, to);
  case kind::map:
    return to_qcontainer<QJsonObject>(from, to);
  case kind::bytes:
    if (!convert(from, data))
      return false;
    to = QJsonValue(QString::fromLatin1(data.toBase64(QByteArray::Base64UrlEncoding | QByteArray::OmitTrailingEquals)));
    return true;
  default:
    return to_qscalar(from, to);
  }
}

inline bool to_qvariant(const value &from, QVariant &to) {
  std::uint64_t large = 0;
  switch (from.kind()) {
  case kind::nothing:
  case kind::ext:
    return false;
  case kind::null:
    to = QVariant::fromValue(nullptr);
    return true;
  case kind::array:
    return to_qcontainer<QVariantList>(from, to);
  case kind::map:
    return to_qcontainer<QVariantMap>(from, to);
  case kind::bytes:
    return to_qcontainer<QByteArray>(from, to);
  case kind::uinteger:
    if (!convert(from, large))
      return false;
    to = QVariant(static_cast<quint64>(large));
    return true;
  default:
    return to_qscalar(from, to);
  }
}

template <class Map>
void add_qmap(args &to, const Map &from) {
  to.begin_map();
  for (auto pair = from.begin(); pair != from.end(); ++pair) {
    const QByteArray key = pair.key().toUtf8();
    to.key(std::string_view(key.constData(), static_cast<std::size_t>(key.size()))).add(pair.value());
  }
  to.end();
}
template <class Array>
void add_qarray(args &to, const Array &from) {
  to.begin_list();
  for (const QJsonValue element : from)
    to.add(element);
  to.end();
}

} // namespace detail

/// QString as text. Surrogates without their other half become U+FFFD.
template <>
struct to_args<QString> {
  /// Adds it.
  static void add(args &to, const QString &from) {
    const QByteArray text = from.toUtf8();
    to.add(std::string_view(text.constData(), static_cast<std::size_t>(text.size())));
  }
};

/// QByteArray as binary data. Not copied, but shared as by any copy of a QByteArray; only what points to foreign memory
/// (QByteArray::fromRawData(), literals) is copied, because nothing keeps that memory.
template <>
struct to_args<QByteArray> {
  /// Adds it.
  static void add(args &to, const QByteArray &from) {
    const auto size = static_cast<std::size_t>(from.size());
    if (from.capacity() < from.size() || from.isEmpty()) {
      to.add(bytes_view(from.constData(), size).to_vector());
    } else {
      auto *kept = new QByteArray(from);
      to.add(lent_bytes(kept->constData(), size, detail::destroy<QByteArray>, kept));
    }
  }
};

/// QMap with QString keys, QVariantMap among them, as a map.
template <class T>
struct to_args<QMap<QString, T>> {
  /// Adds it.
  static void add(args &to, const QMap<QString, T> &from) { detail::add_qmap(to, from); }
};

/// QHash with QString keys, QVariantHash among them, as a map.
template <class T>
struct to_args<QHash<QString, T>> {
  /// Adds it.
  static void add(args &to, const QHash<QString, T> &from) { detail::add_qmap(to, from); }
};

/// QJsonArray as a list.
template <>
struct to_args<QJsonArray> {
  /// Adds it.
  static void add(args &to, const QJsonArray &from);
};

/// QJsonObject as a map.
template <>
struct to_args<QJsonObject> {
  /// Adds it.
  static void add(args &to, const QJsonObject &from);
};

/// QJsonValue as what is in it; one that is undefined as null.
template <>
struct to_args<QJsonValue> {
  /// Adds it.
  static void add(args &to, const QJsonValue &from) {
    switch (from.type()) {
    case QJsonValue::Bool:
      to.add(from.toBool());
      break;
    case QJsonValue::Double:
      add_number(to, from);
      break;
    case QJsonValue::String:
      to.add(from.toString());
      break;
    case QJsonValue::Array:
      to.add(from.toArray());
      break;
    case QJsonValue::Object:
      to.add(from.toObject());
      break;
    default:
      to.add(nullptr);
    }
  }

private:
  static void add_number(args &to, const QJsonValue &from) {
    constexpr double exact = 9007199254740992; // 2^53: integers up to here are doubles, all of them
    const QVariant number = from.toVariant();  // Qt 6 tells integers apart
    const double floating = number.toDouble();
    if (number.userType() == QMetaType::LongLong)
      to.add(number.toLongLong());
    else if (std::trunc(floating) == floating && std::fabs(floating) <= exact)
      to.add(static_cast<std::int64_t>(floating));
    else
      to.add(floating);
  }
};

inline void to_args<QJsonArray>::add(args &to, const QJsonArray &from) { detail::add_qarray(to, from); }
inline void to_args<QJsonObject>::add(args &to, const QJsonObject &from) {
  to.begin_map();
  for (auto pair = from.begin(); pair != from.end(); ++pair) {
    const QByteArray key = pair.key().toUtf8();
    const QJsonValue one = pair.value();
    to.key(std::string_view(key.constData(), static_cast<std::size_t>(key.size()))).add(one);
  }
  to.end();
}

/// QVariant as what is in it: nothing, bool, numbers, QString, QByteArray, QJsonValue and its kin, QStringList, and
/// lists and maps of QVariant. Anything else makes the call fail with code::argument.
template <>
struct to_args<QVariant> {
  /// Adds it.
  static void add(args &to, const QVariant &from) {
    switch (from.userType()) {
    case QMetaType::UnknownType:
    case QMetaType::Nullptr:
      to.add(nullptr);
      break;
    case QMetaType::Bool:
      to.add(from.toBool());
      break;
    case QMetaType::SChar:
    case QMetaType::Short:
    case QMetaType::Int:
    case QMetaType::Long:
    case QMetaType::LongLong:
      to.add(from.toLongLong());
      break;
    case QMetaType::UChar:
    case QMetaType::UShort:
    case QMetaType::UInt:
    case QMetaType::ULong:
    case QMetaType::ULongLong:
      to.add(from.toULongLong());
      break;
    case QMetaType::Float:
    case QMetaType::Double:
      to.add(from.toDouble());
      break;
    case QMetaType::QString:
      to.add(from.toString());
      break;
    case QMetaType::QByteArray:
      to.add(from.toByteArray());
      break;
    case QMetaType::QVariantList:
      to.add(from.toList());
      break;
    case QMetaType::QStringList:
      to.add(from.toStringList());
      break;
    case QMetaType::QVariantMap:
      to.add(from.toMap());
      break;
    case QMetaType::QVariantHash:
      to.add(from.toHash());
      break;
    case QMetaType::QJsonValue:
      to.add(from.toJsonValue());
      break;
    case QMetaType::QJsonArray:
      to.add(from.toJsonArray());
      break;
    case QMetaType::QJsonObject:
      to.add(from.toJsonObject());
      break;
    default:
      to.fail(error(code::argument, std::string("a QVariant of type ") + from.typeName() + " cannot be sent"));
    }
  }
};

} // namespace WSLINK_CPP_ABI
} // namespace wslink

#endif // WSLINK_ADAPTERS_QT_HPP
