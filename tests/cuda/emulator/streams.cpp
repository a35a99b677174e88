// The emulated driver's streams, graphs and events. Work is done when it is launched.
#include <chrono>

#include "driver.h"

using namespace suture;

namespace {

struct Event {
  std::chrono::steady_clock::time_point time = std::chrono::steady_clock::now();
};

}  // namespace

int suture::checkStream(Stream* stream, bool mayCapture) {
  if (!isInitialized()) return NOT_INITIALIZED;
  if (currentContext() == nullptr) return INVALID_CONTEXT;
  if (stream == nullptr) return INVALID_HANDLE;
  if (stream->failed != 0) return stream->failed;
  return stream->capture && !mayCapture ? CAPTURE_UNSUPPORTED : SUCCESS;
}

int suture::submit(Stream* stream, Work work) {
  if (!stream->capture) return work(stream);
  stream->capture->works.push_back(std::move(work));
  return SUCCESS;
}

int suture::breakStream(Stream* stream, int code, const std::string& what) {
  return stream->failed = failWith(code, what);
}

API cuStreamCreate(Stream** stream, unsigned) {
  if (!isInitialized()) return NOT_INITIALIZED;
  if (currentContext() == nullptr) return INVALID_CONTEXT;
  *stream = new Stream();
  return SUCCESS;
}

API cuStreamDestroy_v2(Stream* stream) {
  delete stream;
  return SUCCESS;
}

API cuStreamSynchronize(Stream* stream) { return checkStream(stream); }

API cuStreamBeginCapture_v2(Stream* stream, int) {
  if (int code = checkStream(stream)) return code;
  stream->capture = std::make_unique<Graph>();
  return SUCCESS;
}

API cuStreamEndCapture(Stream* stream, Graph** graph) {
  if (int code = checkStream(stream, true)) return code;
  *graph = stream->capture.release();
  return *graph == nullptr ? INVALID_VALUE : SUCCESS;
}

API cuGraphInstantiateWithFlags(Graph** executable, const Graph* graph, u64) {
  *executable = new Graph(*graph);
  return SUCCESS;
}

API cuGraphLaunch(const Graph* graph, Stream* stream) {
  if (int code = checkStream(stream)) return code;
  for (const Work& work : graph->works) {
    if (int code = work(stream)) return code;
  }
  return SUCCESS;
}

API cuGraphExecDestroy(Graph* graph) {
  delete graph;
  return SUCCESS;
}

API cuGraphDestroy(Graph* graph) {
  delete graph;
  return SUCCESS;
}

API cuEventCreate(Event** event, unsigned) {
  *event = new Event();
  return SUCCESS;
}

API cuEventDestroy_v2(Event* event) {
  delete event;
  return SUCCESS;
}

API cuEventRecord(Event* event, Stream* stream) {
  if (int code = checkStream(stream)) return code;
  event->time = std::chrono::steady_clock::now();
  return SUCCESS;
}

API cuEventSynchronize(Event* event) { return event == nullptr ? INVALID_HANDLE : SUCCESS; }

API cuEventElapsedTime(float* milliseconds, const Event* from, const Event* to) {
  *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
  return SUCCESS;
}
