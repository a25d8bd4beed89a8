#!/bin/sh
# Builds one fuzzer: build.sh OUTPUT tests/fuzz/NAME_fuzz.cc.  All of it by clang++, the sources that
# the fuzzer needs included, so that libFuzzer sees their branches.  Run with a corpus directory:
#
#   build/release/fuzz/ltx_decoder_fuzz -max_total_time=60 tests/fuzz/corpus/ltx_decoder
set -eu
output=$1
source=$2

case $(basename "$source") in
  ltx_*) sources="ltx/*.cc common/posix_io.cc common/hex.cc" ;;
  ipc_*) sources="ipc/codec.cc common/msgpack.cc" ;;
  age_*) sources="daemon/crypto/*.cc ltx/*.cc common/posix_io.cc common/hex.cc" ;;
  archive_*) sources="daemon/archive/bundle.cc daemon/archive/archive_file.cc daemon/archive/s3_xml.cc
    daemon/archive/sftp_listing.cc daemon/archive/directory_walk.cc daemon/archive/url_query.cc
    daemon/archive/object_name.cc daemon/crypto/*.cc ltx/*.cc common/posix_io.cc common/hex.cc" ;;
  *) sources="daemon/replication/message.cc daemon/replication/zmq_socket.cc common/msgpack.cc common/log.cc
    common/clock.cc common/posix_io.cc daemon/replication/connection_guard.cc daemon/replication/peer_list.cc
    daemon/replication/curve_keys.cc daemon/replication/refusals.cc" ;;
esac

mkdir -p "$(dirname "$output")"
# shellcheck disable=SC2046,SC2086  # lists of words
exec "${CLANGXX:-clang++}" -std=c++20 -O1 -g -I. -pthread -DSPDLOG_FMT_EXTERNAL \
  -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
  -o "$output" "$source" $sources \
  -llz4 -lfmt -lspdlog -lxxhash -lzmq -lpugixml -lcrypto $(pkg-config --libs absl_status absl_statusor absl_strings)
