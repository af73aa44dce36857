// SPDX-License-Identifier: Apache-2.0
// HttpServer over real sockets, as far as it goes without a model.
#include "http/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "core/file.h"

namespace engram {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr char kHost[] = " HTTP/1.1\r\nHost: localhost\r\n";

class Client {
 public:
  explicit Client(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  }
  bool connected() const { return connected_; }
  void Send(const std::string& bytes) {
    EXPECT_EQ(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // Everything until the server closes, or, with `until`, until that has been seen.
  std::string Receive(const std::string& until = {}) {
    char data[4096];
    while (until.empty() || received_.find(until) == std::string::npos) {
      const ssize_t n = ::recv(socket_.get(), data, sizeof(data), 0);
      if (n <= 0) break;
      received_.append(data, static_cast<size_t>(n));
    }
    return std::exchange(received_, {});
  }

 private:
  UniqueFd socket_;
  bool connected_ = false;
  std::string received_;
};

class ServerTest : public ::testing::Test {
 protected:
  void Start(HttpOptions options = {}) {
    options.port = 0;
    options.server_version = "9.9";
    auto server = HttpServer::Start(std::move(options), engines_, metrics_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }
  std::string Ask(const std::string& bytes) {
    Client client(server_->port());
    client.Send(bytes);
    return client.Receive();
  }
  EngineDirectory engines_;
  MetricRegistry metrics_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(ServerTest, AnswersWithoutAModel) {
  Start();
  const std::string close = "Connection: close\r\n\r\n";
  EXPECT_TRUE(
      Ask(std::string("GET /health/live") + kHost + close).starts_with("HTTP/1.1 200 OK\r\nServer: engramd/9.9"));
  EXPECT_TRUE(Ask(std::string("GET /health/ready") + kHost + close).starts_with("HTTP/1.1 503 "));
  EXPECT_NE(Ask(std::string("GET /v1/models") + kHost + close).find("\"data\":[]"), std::string::npos);
  const std::string answer =
      Ask(std::string("POST /v1/completions") + kHost + "Content-Length: 14\r\n" + close + "{\"prompt\":\"a\"}");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 ")) << answer;
  EXPECT_NE(answer.find("Retry-After: "), std::string::npos);
  EXPECT_NE(Ask(std::string("GET /metrics") + kHost + close).find("engramd_http_requests_total{route=\"/health/live\""),
            std::string::npos);
}

TEST_F(ServerTest, KeepsConnectionsAlive) {
  Start();
  Client client(server_->port());
  for (int i = 0; i < 3; ++i) {
    client.Send(std::string("GET /health/live") + kHost + "X-Request-Id: id-" + std::to_string(i) + "\r\n\r\n");
    EXPECT_NE(client.Receive("live\"}\n").find("X-Request-Id: id-" + std::to_string(i)), std::string::npos);
  }
}

TEST_F(ServerTest, LargeBodiesGoThroughTheWorkThreads) {
  Start();
  const std::string body(1 << 20, '[');
  const std::string answer = Ask(std::string("POST /tokenize") + kHost + "Connection: close\r\nContent-Length: " +
                                 std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer;
  EXPECT_NE(answer.find("nested deeper"), std::string::npos);
}

TEST_F(ServerTest, SlowRequestsTimeOut) {
  HttpOptions options;
  options.header_timeout = milliseconds(50);
  options.body_timeout = milliseconds(50);
  options.idle_timeout = milliseconds(50);
  Start(options);
  EXPECT_TRUE(Ask("GET / HTTP/1.1\r\nHo").starts_with("HTTP/1.1 408 "));
  EXPECT_TRUE(Ask(std::string("POST /tokenize") + kHost + "Content-Length: 10\r\n\r\n{").starts_with("HTTP/1.1 408 "));
  EXPECT_EQ(Client(server_->port()).Receive(), "");
  EXPECT_TRUE(Ask(std::string("GET /health/live") + kHost + "\r\n").starts_with("HTTP/1.1 200 "));  // then idle
}

TEST_F(ServerTest, RefusesConnectionsOverTheLimit) {
  HttpOptions options;
  options.max_connections = 1;
  Start(options);
  Client first(server_->port());
  first.Send(std::string("GET /health/live") + kHost + "\r\n");
  EXPECT_TRUE(first.Receive("live\"}\n").starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(Client(server_->port()).Receive().starts_with("HTTP/1.1 503 "));
  first.Send(std::string("GET /health/live") + kHost + "\r\n");
  EXPECT_TRUE(first.Receive("live\"}\n").starts_with("HTTP/1.1 200 "));
}

TEST_F(ServerTest, DrainClosesIdleConnections) {
  Start();
  Client idle(server_->port());
  idle.Send(std::string("GET /health/live") + kHost + "\r\n");
  idle.Receive("live\"}\n");
  Client busy(server_->port());
  busy.Send("GET /health/ready HTTP/1.1\r\n");
  // The server has read the start of the request when it answers on another connection that came later.
  Client later(server_->port());
  later.Send(std::string("GET /health/live") + kHost + "\r\n");
  later.Receive("live\"}\n");
  server_->BeginDrain();
  EXPECT_EQ(idle.Receive(), "");
  busy.Send("Host: localhost\r\n\r\n");
  const std::string answer = busy.Receive();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503 ")) << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  server_->Stop(steady_clock::now() + std::chrono::minutes(1));
  EXPECT_FALSE(Client(server_->port()).connected());
}

TEST_F(ServerTest, StopClosesWhatIsLeft) {
  HttpOptions options;
  options.num_threads = 2;
  Start(options);
  std::vector<Client> clients;
  for (int i = 0; i < 20; ++i) {
    clients.emplace_back(server_->port());
    clients.back().Send("POST /tokenize HTTP/1.1\r\n");
  }
  server_->Stop(steady_clock::now());
  for (Client& client : clients) EXPECT_EQ(client.Receive(), "");
}

TEST_F(ServerTest, ManyClientsAtOnce) {
  HttpOptions options;
  options.num_threads = 2;
  Start(options);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const std::string answer = Ask(std::string("GET /metrics") + kHost + "Connection: close\r\n\r\n");
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 "));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ServerTest, StartNamesWhatIsWrong) {
  Start();
  HttpOptions options;
  options.port = server_->port();
  const auto taken = HttpServer::Start(options, engines_, metrics_);
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().message.find(std::to_string(options.port)), std::string::npos);
  options.address = "nowhere";
  EXPECT_FALSE(HttpServer::Start(options, engines_, metrics_));
}

}  // namespace
}  // namespace engram
