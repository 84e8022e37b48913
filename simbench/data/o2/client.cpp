// What a caller of model.onnx does: scale the conditions, draw the noise, run, exp(x) - 1, sum the five channels.
//
//   g++ -O2 -std=c++17 -I$ORT/include -L$ORT/lib client.cpp -o client -lonnxruntime
//   ./client FOLDER particles.txt [seed] [noise.txt]
//
// FOLDER holds model.onnx and model.txt. Each line of particles.txt has nine numbers: Energy Vx Vy Vz Px Py Pz mass
// charge. One line of five counts of photons is written for each. With noise.txt, its numbers are the noise.
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

constexpr int kSide = 44, kConditions = 9;

// The numbers of a block: those between the line with its name and the next blank line.
std::vector<float> read_block(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line) && line != name) {
  }
  std::vector<float> numbers;
  while (std::getline(file, line) && !line.empty()) numbers.push_back(std::stof(line));
  if (numbers.size() != kConditions) throw std::runtime_error(path + ": " + name + " has not nine numbers");
  return numbers;
}

// Quadrants of even pixels in the order of rows, then all odd pixels.
std::array<long, 5> channels(const float* image) {
  std::array<double, 5> photons{};
  for (int row = 0; row < kSide; ++row)
    for (int column = 0; column < kSide; ++column) {
      const bool even = (row + column) % 2 == 0;
      const int channel = even ? 2 * (row >= kSide / 2) + (column >= kSide / 2) : 4;
      photons[channel] += std::expm1(static_cast<double>(image[row * kSide + column]));
    }
  std::array<long, 5> counts{};
  for (int channel = 0; channel < 5; ++channel) counts[channel] = std::lround(photons[channel]);
  return counts;
}

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: client FOLDER particles.txt [seed] [noise.txt]\n";
    return 2;
  }
  const std::string folder = argv[1];
  const auto means = read_block(folder + "/model.txt", "#means");
  const auto scales = read_block(folder + "/model.txt", "#scales");
  std::ifstream particles(argv[2]);
  std::mt19937_64 random(argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 0);
  std::normal_distribution<float> normal;
  std::ifstream given;
  if (argc > 4) given.open(argv[4]);

  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "client");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, (folder + "/model.onnx").c_str(), options);
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const int64_t latent = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape()[1];
  const std::array<int64_t, 2> noise_shape{1, latent}, conditions_shape{1, kConditions};
  Ort::AllocatorWithDefaultOptions allocator;
  const auto output = session.GetOutputNameAllocated(0, allocator);
  const char* inputs[] = {"noise", "conditions"};
  const char* outputs[] = {output.get()};

  std::array<float, kConditions> particle{};
  while (true) {
    for (float& value : particle) particles >> value;
    if (!particles) return 0;
    std::vector<float> noise(latent);
    for (float& value : noise)
      if (given.is_open())
        given >> value;
      else
        value = normal(random);
    for (int i = 0; i < kConditions; ++i) particle[i] = (particle[i] - means[i]) / scales[i];
    std::array<Ort::Value, 2> tensors{
        Ort::Value::CreateTensor<float>(memory, noise.data(), noise.size(), noise_shape.data(), 2),
        Ort::Value::CreateTensor<float>(memory, particle.data(), particle.size(), conditions_shape.data(), 2)};
    const auto out = session.Run(Ort::RunOptions{nullptr}, inputs, tensors.data(), 2, outputs, 1);
    const auto counts = channels(out[0].GetTensorData<float>());
    for (int channel = 0; channel < 5; ++channel) std::cout << counts[channel] << (channel < 4 ? ' ' : '\n');
  }
}
