/* SPDX-License-Identifier: Apache-2.0 */
#include "image/unlzma.h"

#include <errno.h>
#include <lzma.h>
#include <stdint.h>
#include <stdlib.h>

struct unlzma {
	lzma_stream stream;
	archive_read_callback *read;
	void *arg;
	bool input_ended, ended;
	uint8_t out[65536];
};

void unlzma_free(struct unlzma *u)
{
	if (u)
		lzma_end(&u->stream);
	free(u);
}

struct unlzma *unlzma_new(bool xz, archive_read_callback *read, void *arg)
{
	AUTO(unlzma) u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->stream = (lzma_stream)LZMA_STREAM_INIT;
	u->read = read;
	u->arg = arg;
	lzma_ret r = xz ? lzma_stream_decoder(&u->stream, UNLZMA_MEMORY_MAX, LZMA_CONCATENATED)
			: lzma_alone_decoder(&u->stream, UNLZMA_MEMORY_MAX);
	return r == LZMA_OK ? TAKE_PTR(u) : NULL;
}

static la_ssize_t fail(struct archive *a, lzma_ret r)
{
	if (r == LZMA_MEM_ERROR)
		archive_set_error(a, ENOMEM, "out of memory");
	else if (r == LZMA_MEMLIMIT_ERROR)
		archive_set_error(a, EFBIG, "needs a dictionary of more than 128 MiB to unpack");
	else if (r == LZMA_BUF_ERROR)
		archive_set_error(a, EILSEQ, "the compressed data end too early");
	else
		archive_set_error(a, EILSEQ, "the compressed data are invalid");
	return -1;
}

la_ssize_t unlzma_read(struct archive *a, void *unlzma, const void **ret)
{
	struct unlzma *u = unlzma;

	u->stream.next_out = u->out;
	u->stream.avail_out = sizeof(u->out);
	while (u->stream.avail_out > 0 && !u->ended) {
		if (u->stream.avail_in == 0 && !u->input_ended) {
			const void *data = NULL;
			la_ssize_t n = u->read(a, u->arg, &data);
			if (n < 0)
				return -1; /* the reader has set the error */
			u->stream.next_in = data;
			u->stream.avail_in = (size_t)n;
			u->input_ended = n == 0;
		}
		lzma_ret r = lzma_code(&u->stream, u->input_ended ? LZMA_FINISH : LZMA_RUN);
		u->ended = r == LZMA_STREAM_END;
		if (r != LZMA_OK && r != LZMA_STREAM_END)
			return fail(a, r);
	}
	*ret = u->out;
	return (la_ssize_t)(sizeof(u->out) - u->stream.avail_out);
}
