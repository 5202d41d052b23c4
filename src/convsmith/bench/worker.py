# SPDX-License-Identifier: Apache-2.0
"""A runtime in a process of its own, so that its threads meet nobody else's.

    python worker.py ENGINE model.onnx x.npy y.npy THREADS

writes the output for x to y.npy and says `ready`; then each line of its input is a number of calls,
answered by their seconds. It imports neither torch nor the package.
"""

import os
import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np

Call = Callable[[np.ndarray], np.ndarray]


def _onnxruntime(model: str, threads: int) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin on after a call would take the processor from whoever is next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def _openvino(model: str, threads: int) -> Call:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.compile_model(model, "CPU", settings).create_infer_request()
    return lambda x: request.infer([x], share_inputs=True, share_outputs=True)[0]


ENGINES = {"onnxruntime": _onnxruntime, "openvino": _openvino}


def main() -> None:
    """Serve until the input ends."""
    engine, model, x_file, y_file, threads = sys.argv[1:]
    # What a runtime writes to stdout is not an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(line: str) -> None:
        answers.write(f"{line}\n")
        answers.flush()

    call, x = ENGINES[engine](model, int(threads)), np.load(x_file)
    np.save(y_file, call(x))
    answer("ready")
    for line in sys.stdin:
        start = perf_counter()
        for _ in range(int(line)):
            call(x)
        answer(repr(perf_counter() - start))


if __name__ == "__main__":
    main()
