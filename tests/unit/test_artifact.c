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
#include "codec/ed25519ph.h"
#include "codec/p256.h"
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

static int sign_here(void *arg, const void *data, size_t len, uint8_t ret[KEY_SIGNATURE_MAX],
		     size_t *ret_len, struct mvm_error *err)
{
	(void)err;
	*ret_len = key_sign(arg, data, len, ret);
	return 0;
}

static void check_signatures(enum key_type type)
{
	struct key_pair mine, other;
	const struct mvm_digest one = { { 1 } }, two = { { 2 } };
	AUTO_FREE char *bundle = NULL;
	struct mvm_error err = { 0 };
	size_t which = 9;

	key_generate(type, &mine);
	key_generate(KEY_ED25519, &other);
	const struct bundle_signer signer = { .pub = mine.pub, .sign = sign_here, .arg = &mine };
	const struct public_key list[] = { other.pub, mine.pub };
	assert_int_equal(bundle_sign(&one, &signer, &bundle, &err), 0);
	const size_t len = strlen(bundle);
	assert_int_equal(bundle_verify(bundle, len, &one, list, 2, &which), 1);
	assert_int_equal(which, 1);
	assert_int_equal(bundle_verify(bundle, len, &one, list, 1, &which), 0);
	assert_int_equal(bundle_verify(bundle, len, &one, list, 0, &which), 0);
	assert_int_equal(bundle_verify(bundle, len, &two, list, 2, &which), 0);
	/* every changed byte of the envelope makes it none */
	const size_t from = (size_t)(strstr(bundle, "\"payload\"") - bundle);
	const size_t to = (size_t)(strstr(bundle, "]},") - bundle);
	for (size_t i = from; i < to; i++) {
		bundle[i] ^= 1;
		if (bundle_verify(bundle, len, &one, list, 2, &which) != 0)
			fail_msg("byte %zu counts for nothing", i);
		bundle[i] ^= 1;
	}
}

static void only_its_key_verifies_a_signature(void **state)
{
	const struct mvm_digest one = { { 1 } }, two = { { 2 } };
	AUTO_FREE char *manifest = NULL;
	struct mvm_error err = { 0 };
	(void)state;

	check_signatures(KEY_ED25519);
	check_signatures(KEY_P256);
	/* its manifest is about one subject */
	const struct index_part subject = { one, 5 }, blob = { two, 100 };
	struct index_part found;
	assert_int_equal(signature_manifest_format(&subject, &blob, &manifest, &err), 0);
	assert_int_equal(signature_manifest_parse(manifest, strlen(manifest), &one, &found), 1);
	assert_true(digest_equal(&found.digest, &two) && found.bytes == 100);
	assert_int_equal(signature_manifest_parse(manifest, strlen(manifest), &two, &found), 0);
}

/* RFC 8032, 7.1, TEST 2. */
static void the_signature_is_ed25519(void **state)
{
	static const uint8_t secret[] = { 0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda,
					  0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
					  0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24,
					  0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb };
	static const uint8_t begins[] = { 0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8 };
	struct key_pair key = { .pub.type = KEY_ED25519 }, again;
	uint8_t signature[KEY_SIGNATURE_MAX];
	struct public_key pub;
	char pem[KEY_PEM_SIZE];
	(void)state;

	memcpy(key.secret, secret, sizeof(secret));
	key_secret_pem(&key, pem);
	assert_int_equal(key_parse_secret(pem, &again), 0);
	size_t len = key_sign(&again, "\x72", 1, signature);
	assert_memory_equal(signature, begins, sizeof(begins));
	assert_true(key_verify(&again.pub, "\x72", 1, signature, len));
	assert_false(key_verify(&again.pub, "\x73", 1, signature, len));
	assert_false(key_verify(&again.pub, "\x72", 1, signature, len - 1));
	key_public_pem(&again.pub, pem);
	assert_int_equal(key_parse_public(pem, &pub), 0);
	assert_memory_equal(&pub, &again.pub, sizeof(pub));
	assert_int_equal(key_parse_secret(pem, &key), -EINVAL);
	pem[40] ^= 1;
	assert_int_equal(key_parse_public(pem, &pub), -EINVAL);
}

/* RFC 6979, A.2.5: the key, and the signature of "sample" with SHA-256. */
static void the_other_signature_is_ecdsa(void **state)
{
	static const uint8_t secret[] = { 0xc9, 0xaf, 0xa9, 0xd8, 0x45, 0xba, 0x75, 0x16,
					  0x6b, 0x5c, 0x21, 0x57, 0x67, 0xb1, 0xd6, 0x93,
					  0x4e, 0x50, 0xc3, 0xdb, 0x36, 0xe8, 0x9b, 0x12,
					  0x7b, 0x8a, 0x62, 0x2b, 0x12, 0x0f, 0x67, 0x21 };
	static const uint8_t theirs[] = {
		0x30, 0x46, 0x02, 0x21, 0x00, 0xef, 0xd4, 0x8b, 0x2a, 0xac, 0xb6, 0xa8,
		0xfd, 0x11, 0x40, 0xdd, 0x9c, 0xd4, 0x5e, 0x81, 0xd6, 0x9d, 0x2c, 0x87,
		0x7b, 0x56, 0xaa, 0xf9, 0x91, 0xc3, 0x4d, 0x0e, 0xa8, 0x4e, 0xaf, 0x37,
		0x16, 0x02, 0x21, 0x00, 0xf7, 0xcb, 0x1c, 0x94, 0x2d, 0x65, 0x7c, 0x41,
		0xd4, 0x36, 0xc7, 0xa1, 0xb6, 0xe2, 0x9f, 0x65, 0xf3, 0xe9, 0x00, 0xdb,
		0xb9, 0xaf, 0xf4, 0x06, 0x4d, 0xc4, 0xab, 0x2f, 0x84, 0x3a, 0xcd, 0xa8,
	};
	struct key_pair key = { .pub.type = KEY_P256 }, again;
	uint8_t signature[KEY_SIGNATURE_MAX];
	struct public_key pub;
	char pem[KEY_PEM_SIZE];
	(void)state;

	memcpy(key.secret, secret, sizeof(secret));
	assert_int_equal(p256_public(key.secret, key.pub.bytes), 0);
	assert_true(key_verify(&key.pub, "sample", 6, theirs, sizeof(theirs)));
	assert_false(key_verify(&key.pub, "simple", 6, theirs, sizeof(theirs)));
	for (size_t i = 0; i < sizeof(theirs); i++) {
		memcpy(signature, theirs, sizeof(theirs));
		signature[i] ^= 1;
		if (key_verify(&key.pub, "sample", 6, signature, sizeof(theirs)))
			fail_msg("byte %zu of the signature counts for nothing", i);
		assert_false(key_verify(&key.pub, "sample", 6, theirs, i));
	}
	for (int i = 0; i < 64; i++) { /* short numbers, too */
		key_generate(KEY_P256, &again);
		size_t len = key_sign(&again, "x", 1, signature);
		assert_true(key_verify(&again.pub, "x", 1, signature, len));
		assert_false(key_verify(&key.pub, "x", 1, signature, len));
	}
	key_secret_pem(&key, pem);
	assert_int_equal(key_parse_secret(pem, &again), 0);
	assert_memory_equal(&again, &key, sizeof(key));
	key.pub.bytes[5] ^= 1; /* the public half of another key */
	key_secret_pem(&key, pem);
	assert_int_equal(key_parse_secret(pem, &again), -EINVAL);
	key_public_pem(&key.pub, pem); /* no point of the curve */
	assert_int_equal(key_parse_public(pem, &pub), -EINVAL);
	memset(key.secret, 0xff, sizeof(key.secret)); /* larger than the curve's order */
	assert_int_equal(p256_public(key.secret, key.pub.bytes), -EINVAL);
}

/* RFC 8032, section 7.3 */
static void cosigns_variant_of_ed25519_is_known(void **state)
{
	static const uint8_t pub[] = { 0xec, 0x17, 0x2b, 0x93, 0xad, 0x5e, 0x56, 0x3b,
				       0xf4, 0x93, 0x2c, 0x70, 0xe1, 0x24, 0x50, 0x34,
				       0xc3, 0x54, 0x67, 0xef, 0x2e, 0xfd, 0x4d, 0x64,
				       0xeb, 0xf8, 0x19, 0x68, 0x34, 0x67, 0xe2, 0xbf };
	static const uint8_t good[] = { 0x98, 0xa7, 0x02, 0x22, 0xf0, 0xb8, 0x12, 0x1a, 0xa9, 0xd3,
					0x0f, 0x81, 0x3d, 0x68, 0x3f, 0x80, 0x9e, 0x46, 0x2b, 0x46,
					0x9c, 0x7f, 0xf8, 0x76, 0x39, 0x49, 0x9b, 0xb9, 0x4e, 0x6d,
					0xae, 0x41, 0x31, 0xf8, 0x50, 0x42, 0x46, 0x3c, 0x2a, 0x35,
					0x5a, 0x20, 0x03, 0xd0, 0x62, 0xad, 0xf5, 0xaa, 0xa1, 0x0b,
					0x8c, 0x61, 0xe6, 0x36, 0x06, 0x2a, 0xaa, 0xd1, 0x1c, 0x2a,
					0x26, 0x08, 0x34, 0x06 };
	static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a,       0x63,
					   0x12, 0x58, 0xd6, 0x9c, 0xf7,       0xa2,
					   0xde, 0xf9, 0xde, 0x14, [31] = 0x10 };
	uint8_t bad[ED25519_SIGNATURE], other[ED25519_KEY];
	(void)state;

	assert_true(ed25519ph_verify(pub, "abc", 3, good));
	assert_false(ed25519ph_verify(pub, "abd", 3, good));
	for (size_t i = 0; i < sizeof(bad); i += 7) {
		memcpy(bad, good, sizeof(bad));
		bad[i] ^= 1;
		assert_false(ed25519ph_verify(pub, "abc", 3, bad));
	}
	memcpy(bad, good, sizeof(bad)); /* S + L, the same modulo L */
	for (unsigned i = 0, carry = 0; i < 32; i++) {
		carry += bad[32 + i] + order[i];
		bad[32 + i] = (uint8_t)carry;
		carry >>= 8;
	}
	assert_false(ed25519ph_verify(pub, "abc", 3, bad));
	memset(other, 0xff, sizeof(other)); /* no point */
	assert_false(ed25519ph_verify(other, "abc", 3, good));
	memset(bad, 0xff, sizeof(bad));
	assert_false(ed25519ph_verify(pub, "abc", 3, bad));
	memset(bad, 0, sizeof(bad));
	assert_false(ed25519ph_verify(pub, "abc", 3, bad));
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
		TEST(only_its_key_verifies_a_signature),
		TEST(the_signature_is_ed25519),
		TEST(cosigns_variant_of_ed25519_is_known),
		TEST(the_other_signature_is_ecdsa),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
