// A viewer for image streams with Qt: subscribes, shows the latest image, and says in its title how it goes. A window
// that is slow loses images, not time: with keep_latest() only the newest waits.
//
//     qt_viewer ws://localhost:8080/ws [--frames N]    --frames: end after so many images

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
  // `frames`: the application ends after so many; 0: never.
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
      session_.request("myprotocol.stream", "image").then([this](wslink::outcome &&o) {
        if (!o)
          fail(o.failure().message());
      });
    }
    if (now.state == wslink::state::closed && now.reason)
      fail(now.reason.message());
  }
  void show_image(const wslink::publication &p) {
    // A view is enough: the PNG is decoded here and not kept. Raw pixels would be shown where they arrived, by
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
  // Other clients may watch the stream: it ends when the last one has said so.
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
  wslink::session session_ = wslink::session::from_c(nullptr);
  wslink::subscription images_;
};

// Exceptions of callbacks end here, because Qt cannot pass them on.
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
  const QCommandLineOption frames(QStringLiteral("frames"), QStringLiteral("End after so many images."),
                                  QStringLiteral("N"), QStringLiteral("0"));
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
