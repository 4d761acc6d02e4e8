/// @file
/// wslink with Qt (6, and 5.15): the Qt event loop runs the callbacks, Qt types are arguments and results, and received
/// data becomes QByteArray and QImage without a copy. Not part of wslink.hpp; a program that includes it links Qt
/// itself: QtCore, and QtGui for images. No moc is needed.
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
/// **Callbacks with an object**, as in QObject::connect(): `request(...).then(this, [this](auto &&) { ...
/// })`, and likewise for send(), session::subscribe(), config::on_state(), config::on_progress() and latest_call. See
/// guard.
///
/// **Received values**: `get<QString>()`, `get<QByteArray>()` (a copy; get<buffer>() does not copy), `get<QVariant>()`,
/// `get<QJsonValue>()`, and QJsonObject, QJsonArray, QVariantMap, QStringList, QList<int> and the like.
/// - In a QVariant, binary data is a QByteArray (a copy). In JSON, it is base64url text, as by
///   QJsonValue::fromVariant().
/// - Keys of maps that are not strings become their JSON text: `7` becomes "7", None "null".
/// - Integers of more than 64 bits become the nearest double; Qt 5 stores all numbers of JSON as doubles.
/// - For extensions the conversion fails, because Qt has no type for them.
///
/// **Arguments**: QString, QByteArray (binary data, without a copy), QVariant and QJsonValue with their content,
/// lists, and maps with QString keys. JSON numbers without a fraction are sent as integers, as Qt writes them. A
/// QVariant of a type that JSON and msgpack do not have makes the call fail.

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
#include <QtCore/QPointer>
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

/// The type of sizes in Qt: int in Qt 5.
using qt_size = decltype(QByteArray().size());

inline bool fits_qt(std::size_t size) noexcept {
  return size <= static_cast<std::make_unsigned_t<qt_size>>((std::numeric_limits<qt_size>::max)());
}
inline QString to_qstring(std::string_view text) {
  QString made = QString::fromUtf8(text.data(), static_cast<qt_size>(text.size()));
  if (text.substr(0, 3) == "\xEF\xBB\xBF") // Qt removes a byte order mark
    made.prepend(QChar(0xFEFF));
  return made;
}

/// Posts an event to an object, from any thread.
class qt_waker {
public:
  /// Sets the object; nullptr for none.
  void set_target(QObject *target) {
    const std::lock_guard<std::mutex> lock(mutex_);
    target_ = target;
  }
  /// Posts an event to the object, if there is one, unless one is posted already.
  void wake() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (target_ && !std::exchange(posted_, true))
      QCoreApplication::postEvent(target_, new QEvent(QEvent::User));
  }
  /// Notes that the event was received.
  void received() {
    const std::lock_guard<std::mutex> lock(mutex_);
    posted_ = false;
  }

private:
  std::mutex mutex_;
  QObject *target_ = nullptr;
  bool posted_ = false;
};

/// Runs the callbacks of one session when it receives an event of its waker. A separate object, because a callback may
/// destroy the dispatcher, and an object that handles an event must not be deleted before it has returned.
class qt_receiver final : public QObject {
public:
  qt_receiver(std::shared_ptr<qt_waker> waker, event_source events, QObject *parent)
      : QObject(parent), waker_(std::move(waker)), events_(std::move(events)) {
    waker_->set_target(this);
  }
  /// Stops running callbacks, and deletes this object at once or when it has handled its event.
  void retire() {
    waker_->set_target(nullptr);
    retired_ = true;
    setParent(nullptr);
    if (depth_ == 0)
      delete this;
  }
  bool event(QEvent *what) override {
    if (what->type() != QEvent::User)
      return QObject::event(what);
    waker_->received();
    ++depth_; // an event loop inside a callback calls this function again
    events_.run([this] { return !retired_; });
    if (--depth_ == 0 && retired_)
      deleteLater();
    return true;
  }

private:
  std::shared_ptr<qt_waker> waker_;
  event_source events_;
  int depth_ = 0;
  bool retired_ = false;
};

} // namespace detail

/// For a QObject: its callback is not run after the object was deleted. It must be deleted on the thread that runs the
/// callbacks (that of the dispatcher, or the one that calls session::dispatch()). Its callback runs on that thread,
/// too, whatever the thread of the object is. As with QObject::connect(), the object exists until ~QObject: so declare
/// a session that is a member of it last, so that the session ends before the other members are destroyed. nullptr
/// counts as deleted.
template <class T>
class guard<T *, std::enable_if_t<std::is_base_of_v<QObject, T>>> {
public:
  /// Watches the object.
  explicit guard(T *object) : object_(const_cast<QObject *>(static_cast<const QObject *>(object))) {}
  /// Whether the object exists.
  bool lock() const noexcept { return !object_.isNull(); }

private:
  QPointer<QObject> object_;
};

/// Qt: the adapter of `wslink/adapters/qt.hpp`.
namespace qt {

/// Runs the callbacks of a session in a Qt event loop: that of the thread that created this object, or to which it was
/// moved. Use it on that thread only. It may be destroyed inside a callback.
///
/// - **It uses the wakeup function** of the config and not the descriptor with QSocketNotifier, because posting an
///   event works with every event loop of Qt on every platform; Windows has no descriptor. An event is posted when the
///   queue is not empty and no event is posted already; an idle session costs nothing.
/// - **The session belongs to the program**, which may move and end it at any time on this thread, also inside its
///   callbacks. Another thread may end it after the dispatcher was stopped or destroyed.
/// - **Without a dispatcher** (destroyed or stopped, or while no event loop runs) events stay in the queue: all
///   completions, and publications by the overflow policy of their subscription. session::dispatch() can still run
///   them.
/// - **An event loop inside a callback** (QDialog::exec()) runs all events except those of this session, because
///   dispatching is not reentrant. They run when the callback has returned. QDialog::open() does not delay them.
/// - **Exceptions** that leave a callback never propagate through Qt: they are passed to the hook of
///   set_exception_hook(). Without a hook the program ends by std::terminate.
class dispatcher : public QObject {
public:
  /// For the event loop of this thread. The parent deletes it, as usual in Qt.
  explicit dispatcher(QObject *parent = nullptr) : QObject(parent) {}
  ~dispatcher() override { stop(); }

  /// Makes a session that is not connected; its callbacks run in the event loop. Sets the wakeup function of the
  /// config, whose delivery must not be delivery::io_thread. A dispatcher serves one session: this calls stop() for an
  /// earlier one.
  session make_session(config &options, error *err = nullptr) {
    error failed;
    const auto waker = std::make_shared<wslink::detail::qt_waker>();
    session made = wslink::detail::make_woken_session(
        options, [waker] { waker->wake(); }, failed);
    if (failed) {
      wslink::detail::fail(std::move(failed), err);
      return made;
    }
    stop();
    receiver_ = new wslink::detail::qt_receiver(waker, event_source(made), this);
    if (err)
      err->clear();
    return made;
  }
  /// Stops running callbacks, including those of events that are already in the queue. The session does not end.
  void stop() {
    if (receiver_)
      std::exchange(receiver_, nullptr)->retire();
  }

private:
  wslink::detail::qt_receiver *receiver_ = nullptr;
};

/// Received binary data as a QByteArray, without a copy. A QByteArray cannot own foreign memory: the array of get()
/// points to the data, which this object owns. So this object must outlive that array *and its copies*, which also
/// point to the data. To keep the data longer, copy it: `QByteArray(data.get().constData(), data.get().size())`.
/// Changing a copy of the array copies the data first.
class byte_array {
public:
  /// Takes ownership of the buffer. With Qt 5 it fails with code::limit for 2 GiB and more.
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
  const QByteArray &get() const && = delete; // the data would be freed at the end of the expression

private:
  buffer owner_;
  QByteArray array_;
};

#ifdef QT_GUI_LIB
/// Received pixels as a QImage, without a copy: the image and its copies own the buffer, on any thread. Changing an
/// image copies the pixels first, as usual in Qt. `bytes_per_line` is the distance from one line to the next. (For PNG,
/// JPEG and the like use QImage::fromData().)
///
/// Pixels of 16 bits and more must be aligned to their size (at most 4 bytes), which protocol 2 does not guarantee:
/// pixels that are not aligned are copied once. Formats of single bytes (RGB888, Grayscale8) are never copied.
///
/// Fails with code::argument if the buffer is too small, or if Qt does not accept the size or the format.
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
  pixels.release(); // the image owns it
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
    to.insert(to_qkey(pair.key), std::move(one)); // the last of several equal keys counts
  }
  return true;
}

} // namespace detail

/// Text, `get<QString>()`.
template <>
struct from_value<QString> {
  /// False if the value is not text.
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
  /// False if the value is not binary data.
  static bool get(const value &from, QByteArray &to) {
    bytes_view data;
    if (!detail::convert(from, data) || !detail::fits_qt(data.size()))
      return false;
    to = QByteArray(reinterpret_cast<const char *>(data.data()), static_cast<detail::qt_size>(data.size()));
    return true;
  }
};

/// A list: `get<QStringList>()`, `get<QList<double>>()`. With Qt 6, numbers are contiguous and copied in bulk.
template <class T>
struct from_value<QList<T>> {
  /// False if the value is not a list, or has an element that is not a T.
  static bool get(const value &from, QList<T> &to) { return detail::to_qlist<T>(from, to); }
};
#if QT_VERSION < QT_VERSION_CHECK(6, 0, 0)
/// A list, with numbers copied in bulk: `get<QVector<double>>()`. In Qt 6 it is another name of QList.
template <class T>
struct from_value<QVector<T>> {
  /// False if the value is not a list, or has an element that is not a T.
  static bool get(const value &from, QVector<T> &to) { return detail::to_qlist<T>(from, to); }
};
/// A list of texts. In Qt 6 it is another name of QList.
template <>
struct from_value<QStringList> {
  /// False if the value is not a list, or has an element that is not text.
  static bool get(const value &from, QStringList &to) { return detail::to_qlist<QString>(from, to); }
};
#endif

/// A map: `get<QVariantMap>()`, `get<QMap<QString, double>>()`.
template <class T>
struct from_value<QMap<QString, T>> {
  /// False if the value is not a map, or has a value that is not a T.
  static bool get(const value &from, QMap<QString, T> &to) { return detail::to_qmap(from, to, detail::convert<T>); }
};

/// Any value except extensions: `get<QJsonValue>()`.
template <>
struct from_value<QJsonValue> {
  /// False for an empty view, and if the value contains an extension.
  static bool get(const value &from, QJsonValue &to) { return detail::to_qjson(from, to); }
};

/// A list: `get<QJsonArray>()`.
template <>
struct from_value<QJsonArray> {
  /// False if the value is not a list, or contains an extension.
  static bool get(const value &from, QJsonArray &to) { return detail::to_qarray(from, to, detail::to_qjson); }
};

/// A map: `get<QJsonObject>()`.
template <>
struct from_value<QJsonObject> {
  /// False if the value is not a map, or contains an extension.
  static bool get(const value &from, QJsonObject &to) { return detail::to_qmap(from, to, detail::to_qjson); }
};

/// Any value except extensions: `get<QVariant>()`.
template <>
struct from_value<QVariant> {
  /// False for an empty view, and if the value contains an extension.
  static bool get(const value &from, QVariant &to) { return detail::to_qvariant(from, to); }
};

namespace detail {

/// A scalar that both QJsonValue and QVariant have; `to` is one of these.
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

/// A container, converted to a QJsonValue or QVariant.
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

/// QString as text. Unpaired surrogates become U+FFFD.
template <>
struct to_args<QString> {
  /// Adds the value.
  static void add(args &to, const QString &from) {
    const QByteArray text = from.toUtf8();
    to.add(std::string_view(text.constData(), static_cast<std::size_t>(text.size())));
  }
};

/// QByteArray as binary data, without a copy: the data is shared as with any copy of a QByteArray. Only arrays that
/// point to foreign memory (QByteArray::fromRawData(), literals) are copied, because they do not own that memory.
template <>
struct to_args<QByteArray> {
  /// Adds the value.
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

/// QMap with QString keys, such as QVariantMap, as a map.
template <class T>
struct to_args<QMap<QString, T>> {
  /// Adds the value.
  static void add(args &to, const QMap<QString, T> &from) { detail::add_qmap(to, from); }
};

/// QHash with QString keys, such as QVariantHash, as a map.
template <class T>
struct to_args<QHash<QString, T>> {
  /// Adds the value.
  static void add(args &to, const QHash<QString, T> &from) { detail::add_qmap(to, from); }
};

/// QJsonArray as a list.
template <>
struct to_args<QJsonArray> {
  /// Adds the value.
  static void add(args &to, const QJsonArray &from);
};

/// QJsonObject as a map.
template <>
struct to_args<QJsonObject> {
  /// Adds the value.
  static void add(args &to, const QJsonObject &from);
};

/// QJsonValue as its content; an undefined one as null.
template <>
struct to_args<QJsonValue> {
  /// Adds the value.
  static void add(args &to, const QJsonValue &from) {
    if (from.isBool()) { // not in the switch, because X11 has a macro Bool
      to.add(from.toBool());
      return;
    }
    switch (from.type()) {
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
    constexpr double exact = 9007199254740992; // 2^53: doubles represent all integers up to here
    const QVariant number = from.toVariant();  // in Qt 6 the type of an integer is LongLong
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

/// QVariant as its content: null, bool, numbers, QString, QByteArray, QJsonValue, QJsonArray, QJsonObject, QStringList,
/// and lists and maps of QVariant. Other types make the call fail with code::argument.
template <>
struct to_args<QVariant> {
  /// Adds the value.
  static void add(args &to, const QVariant &from) {
    switch (from.userType()) {
    case QMetaType::UnknownType:
    case QMetaType::Nullptr:
      to.add(nullptr);
      break;
    case qMetaTypeId<bool>(): // not QMetaType::Bool, because X11 has a macro Bool
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
