// Measures one workload and prints the line of JSON that scripts/bench reads.
#ifndef WSLINK_BENCH_METER_HPP
#define WSLINK_BENCH_METER_HPP

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace bench {

[[noreturn]] inline void die(const char *what) {
  std::fprintf(stderr, "%s\n", what);
  std::exit(4);
}

// Measures the time from begin() to end(), or to report() if nothing has to be excluded.
class meter {
public:
  double ops = 0, bytes = 0, check = 0;

  void begin() {
    laps_.clear();
    ended_ = false;
    begun_ = clock::now();
    lap_ = begun_;
    cpu_ = cpu();
  }
  // An operation begins or ends.
  void start_lap() { lap_ = clock::now(); }
  void end_lap() {
    const clock::time_point now = clock::now();
    laps_.push_back(seconds(now - lap_));
    lap_ = now;
  }
  // Repeats the work, after a first time that does not count because its memory is new.
  template <class Work>
  void repeat(long laps, Work &&once) {
    once();
    begin();
    for (long i = 0; i < laps; i++) {
      start_lap();
      once();
      end_lap();
    }
  }
  void end() {
    took_ = seconds(clock::now() - begun_);
    used_ = cpu() - cpu_;
    ended_ = true;
  }
  void report(const char *client, int protocol, int argc, char **argv) {
    if (!ended_)
      end();
    std::string params;
    for (int i = 3; i < argc; i++)
      params += (i > 3 ? " " : "") + std::string(argv[i]);
    std::sort(laps_.begin(), laps_.end());
    auto quantile = [this](double q) {
      return laps_.empty() ? "null" : std::to_string(laps_[std::size_t(double(laps_.size() - 1) * q)] * 1e6);
    };
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    std::printf("{\"client\":\"%s\",\"proto\":\"v%d\",\"workload\":\"%s\",\"params\":\"%s\",\"seconds\":%.6f,"
                "\"ops_per_s\":%.2f,\"mb_per_s\":%.2f,\"p50_us\":%s,\"p99_us\":%s,\"cpu_s\":%.6f,\"max_rss_kb\":%ld,"
                "\"check\":%.6g}\n",
                client, protocol, argv[2], params.c_str(), took_, ops / took_, bytes / took_ / 1e6,
                quantile(0.5).c_str(), quantile(0.99).c_str(), used_, usage.ru_maxrss, check);
  }

private:
  using clock = std::chrono::steady_clock;

  static double seconds(clock::duration time) { return std::chrono::duration<double>(time).count(); }
  static double cpu() {
    rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
  }

  std::vector<double> laps_;
  clock::time_point begun_, lap_;
  double cpu_ = 0, took_ = 0, used_ = 0;
  bool ended_ = false;
};

} // namespace bench

#endif
