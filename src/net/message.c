/* SPDX-License-Identifier: Apache-2.0 */
#include "net/message.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "net/agent.h"
#include "net/channel.h"
#include "net/wire.h"

#define ERRNO_MAX  4095u
#define SIGNAL_MAX 64u

static int put_rest(struct strbuf *b, const struct strbuf *fields)
{
	if (fields && fields->len)
		strbuf_add(b, fields->data, fields->len);
	if (b->failed || (fields && fields->failed))
		return -ENOMEM;
	return b->len > FRAME_PAYLOAD_MAX ? -EFBIG : 0;
}

int message_put_call(struct strbuf *ret, unsigned call, const struct strbuf *args)
{
	wire_put_u64(ret, FIELD_CALL, call);
	return put_rest(ret, args);
}

int message_put_reply(struct strbuf *ret, int status, const char *message,
		      const struct strbuf *results)
{
	wire_put_u64(ret, FIELD_STATUS, (uint64_t)status);
	wire_put_str(ret, FIELD_MESSAGE, message);
	return put_rest(ret, results);
}

/* Accept only a plain word as the reason.  It is a supervisor's: clients.c passes none of a guest's
 * on. */
static void take_reason(const void *payload, size_t len, int status, struct mvm_error *err)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz-";
	struct wire_field field;
	char word[MVM_ERROR_REASON_SIZE] = "";

	if (wire_find(payload, len, FIELD_REASON, &field) <= 0 || field.len >= sizeof(word))
		return;
	memcpy(word, field.data, field.len);
	if (strspn(word, letters) == field.len)
		mvm_error_reason(err, -status, word, NULL);
}

int message_get_status(const void *payload, size_t len, struct mvm_error *err)
{
	struct wire_field words;
	uint64_t status;

	if (!wire_find_u64(payload, len, FIELD_STATUS, ERRNO_MAX, &status))
		return mvm_error_set(err, -EPROTO, "an answer without a status");
	if (status == 0)
		return 0;
	if (wire_find(payload, len, FIELD_MESSAGE, &words) > 0)
		mvm_error_set(err, -(int)status, "%.*s", (int)words.len, (const char *)words.data);
	else
		mvm_error_set(err, -(int)status, "%s", strerror((int)status));
	take_reason(payload, len, (int)status, err);
	return (int)status;
}

void message_put_end(struct strbuf *ret, int wait_status)
{
	if (WIFSIGNALED(wait_status))
		wire_put_u64(ret, FIELD_SIGNAL, (uint64_t)WTERMSIG(wait_status));
	else
		wire_put_u64(ret, FIELD_EXIT_CODE, (uint64_t)WEXITSTATUS(wait_status));
}

int message_get_end(const void *payload, size_t len, int *ret_signal)
{
	uint64_t n;
	int signal = 0;

	if (wire_find_u64(payload, len, FIELD_SIGNAL, SIGNAL_MAX, &n))
		signal = (int)n;
	else if (!wire_find_u64(payload, len, FIELD_EXIT_CODE, UINT8_MAX, &n))
		return -EPROTO;
	if (ret_signal)
		*ret_signal = signal;
	return (signal ? 128 : 0) + (int)n;
}

void message_put_credit(uint32_t n, uint8_t ret[CREDIT_SIZE])
{
	uint32_t le = htole32(n);
	memcpy(ret, &le, sizeof(le));
}

uint32_t message_get_credit(const void *payload, size_t len)
{
	uint32_t le = 0;
	if (len == sizeof(le))
		memcpy(&le, payload, sizeof(le));
	return le32toh(le);
}

uint32_t message_credit_due(uint32_t *consumed, size_t n)
{
	uint32_t due = *consumed + (uint32_t)n;
	*consumed = due < WINDOW_BYTES / 4 ? due : 0;
	return due - *consumed;
}
