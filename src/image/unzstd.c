/* SPDX-License-Identifier: Apache-2.0 */
#include "image/unzstd.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define WINDOW_LOG_MAX 27 /* 128 MiB; zstd -19 takes 8 MiB, zstd --ultra -22 takes all */

struct unzstd {
	ZSTD_DStream *stream;
	archive_read_callback *read;
	void *arg;
	ZSTD_inBuffer in;
	bool input_ended;
	size_t wants; /* bytes that zstd expects; 0: between two frames */
	uint8_t out[131072];
};

void unzstd_free(struct unzstd *u)
{
	if (u)
		ZSTD_freeDStream(u->stream); /* takes NULL, and cannot fail */
	free(u);
}

struct unzstd *unzstd_new(archive_read_callback *read, void *arg)
{
	AUTO(unzstd) u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	u->stream = ZSTD_createDStream();
	u->read = read;
	u->arg = arg;
	if (!u->stream ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(u->stream, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)))
		return NULL;
	return TAKE_PTR(u);
}

static la_ssize_t fail(struct archive *a, ZSTD_ErrorCode code)
{
	if (code == ZSTD_error_memory_allocation)
		archive_set_error(a, ENOMEM, "out of memory");
	else if (code == ZSTD_error_frameParameter_windowTooLarge)
		archive_set_error(a, EFBIG, "needs a dictionary of more than 128 MiB to unpack");
	else if (code == ZSTD_error_no_error)
		archive_set_error(a, EILSEQ, "the compressed data end too early");
	else
		archive_set_error(a, EILSEQ, "the compressed data are invalid");
	return -1;
}

la_ssize_t unzstd_read(struct archive *a, void *unzstd, const void **ret)
{
	struct unzstd *u = unzstd;
	ZSTD_outBuffer out = { .dst = u->out, .size = sizeof(u->out) };

	while (out.pos < out.size) {
		if (u->in.pos == u->in.size && !u->input_ended) {
			const void *data = NULL;
			la_ssize_t n = u->read(a, u->arg, &data);
			if (n < 0)
				return -1; /* the reader has set the error */
			u->in = (ZSTD_inBuffer){ .src = data, .size = (size_t)n };
			u->input_ended = n == 0;
		}
		if (u->input_ended && u->wants == 0)
			break;
		size_t before = out.pos;
		u->wants = ZSTD_decompressStream(u->stream, &out, &u->in);
		if (ZSTD_isError(u->wants))
			return fail(a, ZSTD_getErrorCode(u->wants));
		if (u->input_ended && u->wants > 0 && out.pos == before)
			return fail(a, ZSTD_error_no_error);
	}
	*ret = u->out;
	return (la_ssize_t)out.pos;
}
