/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <zstd.h>

#include "artifact/chunk.h"
#include "artifact/document.h"
#include "artifact/frame.h"
#include "artifact/layout.h"
#include "artifact/pack.h"
#include "artifact/variants.h"
#include "codec/sha256.h"
#include "scratch.h"

#define MIB   ((size_t)1 << 20)
#define BLOCK CHUNK_BLOCK

/* Bytes that look random and are the same everywhere. */
static void fill(uint8_t *to, size_t len, uint64_t seed)
{
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		to[i] = (uint8_t)(x >> 24);
	}
}

static int file_with(void **state, const char *name, const void *data, size_t len)
{
	int fd = openat(scratch_fd(state), name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, data, len), 0);
	return fd;
}

/* ---- cutting ---- */

struct cuts {
	uint64_t ends[4096];
	bool hole[4096];
	size_t n;
};

static void cut(int fd, uint64_t size, struct cuts *ret)
{
	AUTO_DONE(cutter) c = { 0 };
	struct chunk_span span;
	uint64_t at = 0;
	int r;

	ret->n = 0;
	assert_int_equal(cutter_init(&c, fd, size), 0);
	while ((r = cutter_next(&c, &span)) > 0) {
		assert_true(span.offset == at && span.bytes > 0 && ret->n < 4096);
		assert_true(span.data ? span.bytes <= CHUNK_MAX_BYTES
				      : span.bytes <= (uint64_t)CHUNK_HOLE_MAX_BLOCKS * BLOCK);
		at += span.bytes;
		assert_true(at % BLOCK == 0 || at == size);
		ret->hole[ret->n] = !span.data;
		ret->ends[ret->n++] = at;
	}
	assert_int_equal(r, 0);
	assert_true(at == size);
}

static void only_long_runs_of_zeros_are_holes(void **state)
{
	static uint8_t data[8 * MIB + 100];
	struct cuts cuts;

	fill(data, sizeof(data), 1);
	memset(data + 10 * BLOCK, 0, 15 * BLOCK);    /* too short */
	memset(data + 300 * BLOCK, 0, 16 * BLOCK);   /* a hole */
	memset(data + 500 * BLOCK, 0, 1100 * BLOCK); /* a hole, longer than the buffer's window */
	AUTO_CLOSE int fd = file_with(state, "f", data, sizeof(data));
	cut(fd, sizeof(data), &cuts);
	size_t holes = 0;
	for (size_t i = 0; i < cuts.n; i++) {
		if (!cuts.hole[i])
			continue;
		assert_true(cuts.ends[i] == (holes ? 1600 : 316) * (uint64_t)BLOCK);
		assert_true(cuts.ends[i - 1] == (holes ? 500 : 300) * (uint64_t)BLOCK);
		holes++;
	}
	assert_int_equal(holes, 2);
}

static void a_file_of_holes_is_cut_as_one_of_zeros(void **state)
{
	const uint64_t size = ((uint64_t)5 << 29) + 12345; /* 2.5 GiB */
	struct cuts cuts;

	AUTO_CLOSE int fd = file_with(state, "f", "", 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	cut(fd, size, &cuts);
	assert_int_equal(cuts.n, 3);
	assert_true(cuts.ends[0] == 1u << 30 && cuts.hole[0] && cuts.hole[2]);
	/* written zeros are no different from holes */
	static uint8_t zeros[3 * MIB];
	AUTO_CLOSE int written = file_with(state, "g", zeros, sizeof(zeros));
	cut(written, sizeof(zeros), &cuts);
	assert_true(cuts.n == 1 && cuts.hole[0]);
}

static void an_inserted_block_changes_few_chunks(void **state)
{
	static uint8_t data[16 * MIB], more[16 * MIB + BLOCK];
	struct cuts a, b;
	size_t same = 0;

	fill(data, sizeof(data), 2);
	memcpy(more, data, 3 * MIB);
	fill(more + 3 * MIB, BLOCK, 3);
	memcpy(more + 3 * MIB + BLOCK, data + 3 * MIB, sizeof(data) - 3 * MIB);
	AUTO_CLOSE int fd = file_with(state, "a", data, sizeof(data));
	AUTO_CLOSE int fd_more = file_with(state, "b", more, sizeof(more));
	cut(fd, sizeof(data), &a);
	cut(fd_more, sizeof(more), &b);
	for (size_t i = 0, k = 0; i < a.n; i++) {
		uint64_t end = a.ends[i] + (a.ends[i] > 3 * MIB ? BLOCK : 0);
		while (k < b.n && b.ends[k] < end)
			k++;
		same += k < b.n && b.ends[k] == end;
	}
	assert_in_range(a.n, 30, 130); /* 256 KiB on average */
	assert_true(same + 4 >= a.n);
}

/* ---- packing ---- */

#define BLOBS_MAX 32

struct blobs {
	struct strbuf data[BLOBS_MAX];
	struct mvm_digest digests[BLOBS_MAX];
	size_t n;
};

static int blob_begin(void *arg, struct mvm_error *err)
{
	struct blobs *b = arg;
	(void)err;
	return b->n < BLOBS_MAX ? 0 : -EFBIG;
}

static int blob_add(void *arg, const void *data, size_t len, struct mvm_error *err)
{
	struct blobs *b = arg;
	(void)err;
	strbuf_add(&b->data[b->n], data, len);
	return 0;
}

static int blob_end(void *arg, const struct mvm_digest *digest, uint64_t bytes,
		    struct mvm_error *err)
{
	struct blobs *b = arg;
	struct mvm_digest actual;
	(void)err;
	sha256_buf(b->data[b->n].data, b->data[b->n].len, &actual);
	assert_true(digest_equal(&actual, digest) && b->data[b->n].len == bytes);
	b->digests[b->n++] = *digest;
	return 0;
}

static struct blob_sink sink_of(struct blobs *b, uint64_t part_bytes)
{
	return (struct blob_sink){ .begin = blob_begin,
				   .write = blob_add,
				   .end = blob_end,
				   .arg = b,
				   .part_bytes = part_bytes };
}

static void blobs_done(struct blobs *b)
{
	for (size_t i = 0; i < b->n; i++)
		strbuf_done(&b->data[i]);
	b->n = 0;
}

/* 6 MiB with data, a hole and repeated data. */
static int make_file(void **state, uint8_t *data)
{
	fill(data, 3 * MIB, 4);
	memset(data + 3 * MIB, 0, 2 * MIB);
	memset(data + 5 * MIB, 'x', MIB);
	return file_with(state, "file", data, 6 * MIB - 77);
}

static void stored(void **state, const struct blobs *b, struct blob_at *ret)
{
	for (size_t i = 0; i < b->n; i++) {
		char name[16];
		snprintf(name, sizeof(name), "blob.%zu", i);
		ret[i] = (struct blob_at){ .fd = file_with(state, name, b->data[i].data,
							   b->data[i].len) };
	}
}

/* zstd reads a blob as any other file: the frames of all parts together are the file. */
static size_t decompress(const struct blobs *b, uint8_t *to, size_t size)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	ZSTD_outBuffer out = { to, size, 0 };
	for (size_t i = 0; i < b->n; i++) {
		ZSTD_inBuffer in = { b->data[i].data, b->data[i].len, 0 };
		while (in.pos < in.size) {
			size_t r = ZSTD_decompressStream(z, &out, &in);
			assert_false(ZSTD_isError(r));
		}
	}
	ZSTD_freeDStream(z);
	return out.pos;
}

static void a_file_survives_packing(void **state)
{
	static uint8_t data[6 * MIB], back[6 * MIB + 1];
	static const uint64_t part_bytes[] = { 0, MIB };
	struct mvm_error err = { 0 };

	AUTO_CLOSE int fd = make_file(state, data);
	for (size_t i = 0; i < 2; i++) {
		AUTO_DONE(chunk_index) x = { 0 };
		struct blobs b = { 0 };
		struct blob_at at[BLOBS_MAX];
		const struct blob_sink sink = sink_of(&b, part_bytes[i]);
		assert_int_equal(pack_file("a/file", fd, &sink, &x, NULL, &err), 0);
		assert_true(i ? b.n > 2 : b.n == 1);
		assert_int_equal(x.n_parts, b.n);
		assert_int_equal(decompress(&b, back, sizeof(back)), 6 * MIB - 77);
		assert_memory_equal(back, data, 6 * MIB - 77);
		stored(state, &b, at);
		AUTO_CLOSE int to = file_with(state, "back", "", 0);
		assert_int_equal(unpack_file(&x, &x.files[0], at, to, NULL, &err), 0);
		assert_int_equal(pread(to, back, sizeof(back), 0), 6 * MIB - 77);
		assert_memory_equal(back, data, 6 * MIB - 77);
		assert_true(lseek(to, 3 * MIB, SEEK_HOLE) == 3 * MIB);
		for (size_t k = 0; k < b.n; k++)
			close(at[k].fd);
		blobs_done(&b);
	}
}

static void every_damaged_byte_is_found(void **state)
{
	static uint8_t data[6 * MIB];
	AUTO_DONE(chunk_index) x = { 0 };
	struct mvm_error err = { 0 };
	struct blobs b = { 0 };
	struct blob_at at[BLOBS_MAX];
	const struct blob_sink sink = sink_of(&b, 0);

	AUTO_CLOSE int fd = make_file(state, data);
	assert_int_equal(pack_file("file", fd, &sink, &x, NULL, &err), 0);
	stored(state, &b, at);
	for (size_t i = 0; i < b.data[0].len; i += b.data[0].len / 97) {
		uint8_t byte = (uint8_t)b.data[0].data[i] ^ 0x10;
		assert_int_equal(pwrite(at[0].fd, &byte, 1, (off_t)i), 1);
		AUTO_CLOSE int to = file_with(state, "back", "", 0);
		assert_int_equal(unpack_file(&x, &x.files[0], at, to, NULL, &err), -EBADMSG);
		assert_int_equal(pwrite(at[0].fd, b.data[0].data + i, 1, (off_t)i), 1);
	}
	assert_int_equal(ftruncate(at[0].fd, (off_t)b.data[0].len - 1), 0);
	AUTO_CLOSE int to = file_with(state, "back", "", 0);
	assert_int_equal(unpack_file(&x, &x.files[0], at, to, NULL, &err), -EBADMSG);
	assert_string_equal(err.text, "'file' is damaged: its blob is cut");
	close(at[0].fd);
	blobs_done(&b);
}

/* ---- index and documents ---- */

static void pack_two(void **state, struct blobs *b, struct chunk_index *x)
{
	static uint8_t data[6 * MIB];
	struct mvm_error err = { 0 };
	const struct blob_sink sink = sink_of(b, 2 * MIB);

	AUTO_CLOSE int fd = make_file(state, data);
	AUTO_CLOSE int small = file_with(state, "small", "hello", 5);
	AUTO_CLOSE int empty = file_with(state, "empty", "", 0);
	assert_int_equal(pack_file("rootfs.ext4", fd, &sink, x, NULL, &err), 0);
	assert_int_equal(pack_file("snapshot/vmstate.bin", small, &sink, x, NULL, &err), 0);
	assert_int_equal(pack_file("empty", empty, &sink, x, NULL, &err), 0);
}

/* The bytes are for ever: other versions of mvm, and registries, have them. */
static void the_format_stays(void **state)
{
	AUTO_DONE(chunk_index) x = { 0 };
	AUTO_FREE char *manifest = NULL;
	AUTO_FREE uint8_t *index = NULL;
	struct mvm_error err = { 0 };
	struct mvm_digest digest;
	struct index_part blob = { 0 };
	struct blobs b = { 0 };
	static uint8_t block[BLOCK];
	char hex[DIGEST_HEX_SIZE];
	size_t len;

	fill(block, sizeof(block), 5);
	assert_int_equal(chunk_block_hash(block), 0x4045a7cb);
	pack_two(state, &b, &x);
	assert_int_equal(chunk_index_format(&x, &index, &len, &err), 0);
	sha256_buf(index, len, &blob.digest);
	blob.bytes = len;
	assert_int_equal(artifact_manifest_format(&blob, &blob, &x, &manifest, &err), 0);
	sha256_buf(manifest, strlen(manifest), &digest);
	digest_hex(&digest, hex);
	if (strcmp(ZSTD_versionString(), "1.5.4") == 0) /* another packs other frames */
		assert_string_equal(
			hex, "b9460ad1f96b9d3aee548d6b8789e7432a4ac0f61f8d5f62c529d7c50e5c66d4");
	blobs_done(&b);
}

static void an_index_is_read_as_it_was_written(void **state)
{
	AUTO_DONE(chunk_index) x = { 0 }, y = { 0 };
	AUTO_FREE uint8_t *text = NULL, *again = NULL;
	struct mvm_error err = { 0 };
	struct blobs b = { 0 };
	size_t len, again_len;

	pack_two(state, &b, &x);
	assert_int_equal(chunk_index_format(&x, &text, &len, &err), 0);
	assert_int_equal(chunk_index_parse(text, len, &y, &err), 0);
	assert_int_equal(chunk_index_format(&y, &again, &again_len, &err), 0);
	assert_int_equal(len, again_len);
	assert_memory_equal(text, again, len);
	assert_true(chunk_index_find(&y, "snapshot/vmstate.bin")->raw);
	/* cut anywhere, it is refused */
	for (size_t n = 0; n < len; n++) {
		AUTO_DONE(chunk_index) cut_index = { 0 };
		assert_int_equal(chunk_index_parse(text, n, &cut_index, &err), -EBADMSG);
	}
	blobs_done(&b);
}

static void a_hostile_index_is_refused(void **state)
{
	AUTO_DONE(chunk_index) x = { 0 };
	struct mvm_error err = { 0 };
	struct blobs b = { 0 };
	static const struct {
		const char *name;
	} names[] = { { "../etc/passwd" }, { "/etc" }, { "a//b" },  { "a/" }, { ".." },
		      { "a/.b" },	   { "A" },    { "empty" }, { "" } };

	pack_two(state, &b, &x);
	for (size_t i = 0; i < MVM_ARRAY_SIZE(names); i++) {
		AUTO_DONE(chunk_index) y = { 0 };
		AUTO_FREE uint8_t *text = NULL;
		size_t len;
		snprintf(x.files[0].name, INDEX_NAME_SIZE, "%s", names[i].name);
		assert_int_equal(chunk_index_format(&x, &text, &len, &err), 0);
		if (chunk_index_parse(text, len, &y, &err) != -EBADMSG)
			fail_msg("'%s' is taken", names[i].name);
	}
	snprintf(x.files[0].name, INDEX_NAME_SIZE, "ok");
	struct index_chunk *c = &x.chunks[1];
	const struct index_chunk good = *c;
	const struct index_chunk bad[] = {
		{ good.digest, 0, good.packed, good.part },
		{ good.digest, good.blocks + 1, good.packed, good.part },
		{ good.digest, CHUNK_MAX_BLOCKS + 1, good.packed, good.part },
		{ good.digest, good.blocks, good.packed + 1, good.part },
		{ good.digest, good.blocks, 0, good.part },
		{ good.digest, good.blocks, UINT32_MAX, good.part },
		{ good.digest, good.blocks, good.packed, 9 },
		{ { { 0 } }, good.blocks, good.packed, good.part },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad); i++) {
		AUTO_DONE(chunk_index) y = { 0 };
		AUTO_FREE uint8_t *text = NULL;
		size_t len;
		*c = bad[i];
		assert_int_equal(chunk_index_format(&x, &text, &len, &err), 0);
		if (chunk_index_parse(text, len, &y, &err) != -EBADMSG)
			fail_msg("chunk %zu is taken", i);
	}
	blobs_done(&b);
}

static void a_manifest_is_ours_or_refused(void **state)
{
	static const char *const d =
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991"
		"b7852b855";
	static const struct {
		const char *config, *layer;
		int size, says;
	} cases[] = {
		{ ARTIFACT_CONFIG_TYPE, ARTIFACT_INDEX_TYPE, 5, 0 },
		{ "application/vnd.oci.image.config.v1+json", ARTIFACT_INDEX_TYPE, 5, -EOPNOTSUPP },
		{ ARTIFACT_CONFIG_TYPE, ARTIFACT_RAW_TYPE, 5, -EBADMSG },
		{ ARTIFACT_CONFIG_TYPE, ARTIFACT_INDEX_TYPE, -5, -EBADMSG },
		{ ARTIFACT_CONFIG_TYPE, ARTIFACT_INDEX_TYPE, 1 << 30, -EBADMSG },
	};
	(void)state;
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		struct artifact_manifest m;
		struct mvm_error err = { 0 };
		AUTO_FREE char *text = str_printf(
			"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"%s\",\"digest\":\"%s\","
			"\"size\":1},\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"%s\","
			"\"size\":%d}]}",
			cases[i].config, d, cases[i].layer, d, cases[i].size);
		assert_int_equal(artifact_manifest_parse(text, strlen(text), "m", &m, &err),
				 cases[i].says);
	}
}

/* ---- signatures ---- */

/* A list of n manifests of a type. */
static void list_of(struct strbuf *to, unsigned first, unsigned n, const char *type, unsigned size)
{
	strbuf_adds(to, "{\"schemaVersion\":2,\"manifests\":[");
	for (unsigned i = 0; i < n; i++)
		strbuf_addf(to,
			    "%s{\"mediaType\":\"" ARTIFACT_MANIFEST_TYPE
			    "\",\"artifactType\":\"%s\",\"digest\":\"sha256:%064x\",\"size\":%u}",
			    i ? "," : "", type, first + i, size);
	strbuf_adds(to, "]}");
}

static void add_list(struct artifact *a, unsigned first, unsigned n, const char *type,
		     unsigned size)
{
	AUTO_DONE(strbuf) text = { 0 };
	list_of(&text, first, n, type, size);
	assert_int_equal(artifact_add_signatures(a, text.data, text.len, NULL), 0);
}

static void what_else_refers_does_not_crowd_signatures_out(void **state)
{
	AUTO_DONE(artifact) a = ARTIFACT_NONE;
	(void)state;
	add_list(&a, 1, 400, "application/spdx+json", 1000);
	add_list(&a, 401, 40, BUNDLE_TYPE, 1000);
	assert_int_equal(a.n_signatures, 40);
	add_list(&a, 441, 5, EMPTY_TYPE, 1000);
	assert_int_equal(a.n_signatures, 45);
	assert_false(a.too_many_signatures);
	add_list(&a, 1000, 300, BUNDLE_TYPE, 1000);
	assert_int_equal(a.n_signatures, SIGNATURES_MAX);
	assert_true(a.too_many_signatures);
}

static void signatures_are_bounded_by_their_bytes(void **state)
{
	AUTO_DONE(artifact) a = ARTIFACT_NONE;
	(void)state;
	add_list(&a, 1, 8, BUNDLE_TYPE, 1 << 20);
	assert_int_equal(a.n_signatures, 4);
	assert_true(a.too_many_signatures);
}

/* ---- variants ---- */

static struct variant variant(unsigned cpu, unsigned backend, uint8_t digest)
{
	struct variant v = { .manifest = { { { digest } }, 7 } };

	snprintf(v.key.cpu, sizeof(v.key.cpu), "%016x", cpu);
	snprintf(v.key.backend, sizeof(v.key.backend), "%016x", backend);
	return v;
}

static void variants_have_one_order_and_one_text(void **state)
{
	static const char golden[] =
		"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
		"\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
		"\"digest\":\"sha256:"
		"0300000000000000000000000000000000000000000000000000000000000000\",\"size\":7,"
		"\"annotations\":{\"dev.mvm.backend-hash\":\"0000000000000002\","
		"\"dev.mvm.cpu-hash\":\"0000000000000001\"}}],"
		"\"annotations\":{\"dev.mvm.revision\":\"0a\"}}";
	struct variants a = { .revision = "0a" }, b = { .revision = "0a" }, read;
	AUTO_FREE char *one = NULL, *two = NULL, *three = NULL;
	struct variant v = variant(1, 2, 9);

	(void)state;
	assert_int_equal(variants_add(&a, &v), 0);
	v = variant(1, 2, 3); /* in its place */
	assert_int_equal(variants_add(&a, &v), 0);
	assert_int_equal(variants_format(&a, &one, NULL), 0);
	assert_string_equal(one, golden);
	for (unsigned i = 0; i < VARIANTS_MAX; i++) {
		v = variant(i * 7 % VARIANTS_MAX, 1, 1);
		assert_int_equal(variants_add(&b, &v), 0);
	}
	v = variant(VARIANTS_MAX, 1, 1);
	assert_int_equal(variants_add(&b, &v), -E2BIG);
	v = variant(5, 1, 2); /* is there: it takes no more room */
	assert_int_equal(variants_add(&b, &v), 0);
	assert_int_equal(variants_format(&b, &two, NULL), 0);
	assert_int_equal(variants_parse(two, strlen(two), "x", &read, NULL), 1);
	assert_int_equal(read.n, VARIANTS_MAX);
	assert_int_equal(variants_format(&read, &three, NULL), 0);
	assert_string_equal(two, three);
	/* the first kind of host for which there is one */
	const struct variant_key keys[] = { variant(99, 1, 0).key, variant(7, 1, 0).key,
					    variant(5, 1, 0).key };
	assert_ptr_equal(variants_find(&b, keys, 3), &b.v[7]);
	assert_int_equal(variants_find(&b, keys + 2, 1)->manifest.digest.bytes[0], 2);
	assert_null(variants_find(&b, keys, 1));
	assert_null(variants_find(&b, NULL, 0));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
	const struct CMUnitTest tests[] = {
		TEST(only_long_runs_of_zeros_are_holes),
		TEST(a_file_of_holes_is_cut_as_one_of_zeros),
		TEST(an_inserted_block_changes_few_chunks),
		TEST(a_file_survives_packing),
		TEST(every_damaged_byte_is_found),
		TEST(the_format_stays),
		TEST(an_index_is_read_as_it_was_written),
		TEST(a_hostile_index_is_refused),
		TEST(a_manifest_is_ours_or_refused),
		TEST(variants_have_one_order_and_one_text),
		TEST(what_else_refers_does_not_crowd_signatures_out),
		TEST(signatures_are_bounded_by_their_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
