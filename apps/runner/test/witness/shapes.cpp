// What C++ programs do: exceptions through frames with destructors, virtual calls, containers, sorting, regular expressions, streams.
#include <algorithm>
#include <cmath>
#include <complex>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

struct Shape {
  virtual ~Shape() = default;
  virtual double area() const = 0;
  virtual std::string name() const = 0;
};
struct Circle : Shape {
  double r;
  explicit Circle(double r) : r(r) {}
  double area() const override { return std::acos(-1.0) * r * r; }
  std::string name() const override { return "circle"; }
};
struct Polygon : Shape {
  std::vector<std::complex<double>> points;
  Polygon(int corners, double size) {
    for (int n = 0; n < corners; n++) points.push_back(std::polar(size, 2 * std::acos(-1.0) * n / corners));
  }
  double area() const override {
    double sum = 0;
    for (size_t n = 0; n < points.size(); n++) sum += std::imag(std::conj(points[n]) * points[(n + 1) % points.size()]);
    return sum / 2;
  }
  std::string name() const override { return std::to_string(points.size()) + "-gon"; }
};

struct Tracer {
  std::ostream &out;
  int depth;
  ~Tracer() { out << 'u' << depth << ' '; }
};
static int dive(std::ostream &out, int depth) {
  Tracer tracer{out, depth};
  if (depth == 7) throw std::out_of_range("seven");
  return dive(out, depth + 1) + 1;
}

int main() {
  std::mt19937_64 random(20261126);
  std::vector<std::unique_ptr<Shape>> shapes;
  for (int n = 0; n < 200; n++) {
    const double size = std::uniform_real_distribution<>(0.1, 9.9)(random);
    if (random() % 3 == 0) shapes.push_back(std::make_unique<Circle>(size));
    else shapes.push_back(std::make_unique<Polygon>(3 + random() % 10, size));
  }
  std::sort(shapes.begin(), shapes.end(), [](auto &a, auto &b) { return a->area() < b->area(); });
  std::map<std::string, double> totals;
  for (auto &shape : shapes) totals[shape->name()] += shape->area();
  for (auto &[name, total] : totals) std::cout << std::setw(8) << name << std::setprecision(17) << ' ' << total << '\n';

  try {
    dive(std::cout, 0);
  } catch (const std::exception &e) {
    std::cout << e.what() << '\n';
  }

  std::unordered_map<std::string, int> words;
  std::ostringstream text;
  for (int n = 0; n < 5000; n++) text << "w" << random() % 97 << (n % 7 ? " " : "-x, ");
  const std::string all = text.str();
  const std::regex word("w([0-9]+)(-x)?");
  for (std::sregex_iterator it(all.begin(), all.end(), word), end; it != end; ++it) words[it->str(1)] += it->str(2).empty() ? 1 : 100;
  std::vector<std::pair<std::string, int>> sorted(words.begin(), words.end());
  std::sort(sorted.begin(), sorted.end());
  unsigned long sum = 0;
  for (auto &[key, count] : sorted) sum = sum * 31 + std::hash<std::string>{}(key) % 1000 + count;
  std::cout << sorted.size() << ' ' << sum << '\n';

  std::vector<double> values(10000);
  std::normal_distribution<> normal;
  for (auto &value : values) value = normal(random);
  std::stable_sort(values.begin(), values.end());
  std::cout << std::hexfloat << std::accumulate(values.begin(), values.end(), 0.0) << ' ' << values[5000] << ' '
            << std::inner_product(values.begin(), values.end(), values.rbegin(), 0.0) << '\n';
}
