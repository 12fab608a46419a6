#!/bin/sh
# slim.sh: remove from /opt/lanner what the service never reads. A test of the image loads everything else.
set -eu
cd /opt/lanner/lib/python3.*/site-packages
# Tests, types and what only a compiler reads.
find . -type d \( -name tests -o -name include \) -prune -exec rm -rf {} +
find . -type f \( -name '*.a' -o -name '*.pyi' -o -name '*.pxd' -o -name '*.h' \) -delete
# The library for programs in C, which the module for Python contains once more, and tools for graphs.
rm -rf onnxruntime/capi/libonnxruntime.so.* onnxruntime/transformers onnxruntime/quantization onnxruntime/tools
# The places and carriers of telephone numbers; finding numbers needs neither.
rm -rf phonenumbers/geodata phonenumbers/carrierdata phonenumbers/tzdata
# Symbols for debuggers, where there are many. Libraries that auditwheel has moved (*.libs) would no longer load.
strip --strip-unneeded ml_dtypes/*.so uvloop/*.so rapidjson*.so _brotli*.so tokenizers/*.so
/opt/lanner/bin/python -c '
import _brotli, google.protobuf, grpc, lanner_native, ml_dtypes, msgspec, numpy.random, numpy.linalg, onnxruntime, orjson
import phonenumbers, rapidjson, re2, tiktoken, tokenizers, tritonclient.grpc, tritonclient.http, uvicorn, uvloop
import lanner.service.tracing
import lanner.service.server'
