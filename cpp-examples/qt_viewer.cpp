// A viewer for image streams with Qt: subscribes, shows the latest image, and shows the state and the counters in its
// title. If the window is slow, images are dropped and it does not lag behind: with keep_latest() only the newest is
// queued.
//
//     qt_viewer ws://localhost:8080/ws [--frames N]    --frames: end after N images

#include <QtCore/QCommandLineParser>
#include <QtGui/QCloseEvent>
#include <QtGui/QPixmap>
#include <QtWidgets/QApplication>
#include <QtWidgets/QLabel>

#include <wslink.hpp>
#include <wslink/adapters/qt.hpp>

namespace {

using namespace std::chrono_literals;

class viewer : public QLabel {
public:
  // The application ends after `frames` images; 0: never.
  viewer(const QString &url, int frames) : config_(url.toStdString()), frames_(frames) {
    resize(320, 240);
    setAlignment(Qt::AlignCenter);
    config_.on_state([this](const wslink::state_change &now) { state_changed(now); });
    session_ = dispatcher_.make_session(config_);
    images_ = session_.subscribe(
        "image", [this](const wslink::publication &p) { show_image(p); }, wslink::keep_latest());
    session_.begin_connect();
  }

protected:
  void closeEvent(QCloseEvent *event) override {
    finish();
    event->accept();
  }

private:
  void state_changed(const wslink::state_change &now) {
    setWindowTitle(QString::fromUtf8(now.reason ? now.reason.message() : to_text(now.state)));
    if (now.state == wslink::state::ready) {
      session_.request("myprotocol.stream", "image").send(this, [this](const wslink::error &why) { //
        fail(why.message());
      });
    }
    if (now.state == wslink::state::closed && now.reason)
      fail(now.reason.message());
  }
  void show_image(const wslink::publication &p) {
    // A view is enough, because the PNG is decoded here and not kept. Raw pixels can be shown without a copy, by
    // wslink::qt::image(...get<wslink::buffer>(), width, height, bytes_per_line, QImage::Format_RGB888).
    const auto png = p.result()["blob"].get<wslink::bytes_view>();
    const QImage image = QImage::fromData(png.data(), static_cast<int>(png.size()));
    if (image.isNull())
      return fail("that is no image");
    setPixmap(QPixmap::fromImage(image));
    ++shown_;
    const auto counts = images_.counts();
    setWindowTitle(QStringLiteral("%1 images, %2 left out").arg(shown_).arg(counts.dropped));
    if (shown_ == frames_) {
      qInfo("%s", qUtf8Printable(windowTitle()));
      finish();
      QCoreApplication::exit(0);
    }
  }
  // Other clients may watch the stream: the server ends it when the last one has called stop.
  void finish() {
    images_.reset();
    wslink::error ignored;
    session_.call("myprotocol.stop", "image", wslink::timeout(1s), &ignored);
    session_.close(1s, &ignored);
  }
  void fail(const char *why) {
    qWarning("%s", why);
    setText(QString::fromUtf8(why));
    if (frames_ > 0)
      QCoreApplication::exit(1);
  }

  wslink::config config_;
  int frames_;
  int shown_ = 0;
  wslink::qt::dispatcher dispatcher_;
  wslink::session session_;
  wslink::subscription images_;
};

// The hook for exceptions of callbacks, because they cannot propagate through Qt.
void report(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(std::move(thrown));
  } catch (const std::exception &e) {
    qWarning("in a callback: %s", e.what());
    QCoreApplication::exit(1);
  }
}

} // namespace

int main(int argc, char **argv) {
  QApplication application(argc, argv);
  QCommandLineParser options;
  options.setApplicationDescription(QStringLiteral("Shows the image stream of a wslink server."));
  options.addHelpOption();
  options.addPositionalArgument(QStringLiteral("url"), QStringLiteral("ws://localhost:8080/ws if not given"));
  const QCommandLineOption frames(QStringLiteral("frames"), QStringLiteral("End after N images."), QStringLiteral("N"),
                                  QStringLiteral("0"));
  options.addOption(frames);
  options.process(application);
  const QStringList given = options.positionalArguments();

  wslink::set_exception_hook(report);
  try {
    viewer window(given.value(0, QStringLiteral("ws://localhost:8080/ws")), options.value(frames).toInt());
    window.show();
    return QApplication::exec();
  } catch (const wslink::exception &e) {
    qCritical("%s", e.what());
    return 1;
  }
}
