/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/flow.h"

#include <endian.h>
#include <errno.h>

#include "net/message.h"
#include "net/wire.h"

int flow_begin(struct flow *f, struct control *c, unsigned call, const struct strbuf *args,
	       struct mvm_error *err)
{
	*f = (struct flow){ .control = c, .window = WINDOW_BYTES, .room = WINDOW_BYTES };
	control_watch_begin(c);
	return control_send_call(c, call, args, &f->stream, err);
}

static int send_frame(struct flow *f, uint8_t type, const void *payload, size_t len)
{
	int r = channel_send(&f->control->channel, type, f->stream, payload, len);
	return r == -EPIPE ? 0 : r;
}

int flow_credit(struct flow *f, size_t n)
{
	uint8_t payload[CREDIT_SIZE];
	uint32_t due = f->ended ? 0 : message_credit_due(&f->taken, n);
	if (due == 0)
		return 0;
	f->room += due;
	message_put_credit(due, payload);
	return send_frame(f, FRAME_CREDIT, payload, sizeof(payload));
}

int flow_input(struct flow *f, char *data, size_t n)
{
	data[0] = DATA_STDIN;
	f->window -= (uint32_t)n;
	return send_frame(f, FRAME_DATA, data, n + 1);
}

int flow_signal(struct flow *f, int number)
{
	uint8_t payload = (uint8_t)number;
	return send_frame(f, FRAME_SIGNAL, &payload, 1);
}

int flow_resize(struct flow *f, uint16_t rows, uint16_t columns)
{
	uint16_t payload[2] = { htole16(rows), htole16(columns) };
	return send_frame(f, FRAME_RESIZE, payload, sizeof(payload));
}

int flow_reset(struct flow *f)
{
	return send_frame(f, FRAME_RESET, NULL, 0);
}

/* The supervisor's refusal because the VM has ended has the code of a supervisor that is gone, too:
 * which of the two a client sees is chance.  The guest refuses no command or copy with ESRCH. */
static int ended_vm(int r, struct mvm_error *err)
{
	if (r != -ESRCH)
		return r;
	if (err)
		err->code = -EREMOTEIO;
	return -EREMOTEIO;
}

static int take_reply(struct flow *f, const struct frame *frame, struct mvm_error *err)
{
	uint64_t pid = 0, holes = 0, tty = 0, gone = 0, deaf = 0;
	/* a second reply: the supervisor ends the stream */
	int r = ended_vm(control_check_reply(f->control, frame, NULL, err), err);
	if (r < 0 || f->started)
		return r < 0 ? r : control_gone(f->control, -EPROTO, err);
	if (wire_find_u64(frame->payload, frame->len, FIELD_PID, INT32_MAX, &pid))
		f->pid = (int64_t)pid;
	f->tty = wire_find_u64(frame->payload, frame->len, FIELD_TTY, 1, &tty) && tty;
	f->gone = wire_find_u64(frame->payload, frame->len, FIELD_ENDED, 1, &gone) && gone;
	f->deaf = wire_find_u64(frame->payload, frame->len, FIELD_INPUT_ENDED, 1, &deaf) && deaf;
	f->holes = wire_find_u64(frame->payload, frame->len, FIELD_HOLES, 1, &holes) && holes;
	f->started = true;
	return 1;
}

static int take_output(struct flow *f, const struct frame *frame, struct flow_event *ret)
{
	if (frame->len == 0 ||
	    (frame->payload[0] != DATA_STDOUT && frame->payload[0] != DATA_STDERR) ||
	    frame->len - 1 > f->room)
		return -EPROTO;
	ret->channel = frame->payload[0];
	ret->data = frame->payload + 1;
	ret->len = frame->len - 1;
	f->room -= (uint32_t)ret->len;
	return 1;
}

static int take_credit(struct flow *f, const struct frame *frame)
{
	uint32_t more = message_get_credit(frame->payload, frame->len);
	uint32_t room = WINDOW_BYTES - f->window;
	f->window += more < room ? more : room;
	return 1;
}

static int take_end(struct flow *f, const struct frame *frame)
{
	f->ended = true;
	f->status = message_get_end(frame->payload, frame->len, &f->signal);
	return f->status < 0 ? f->status : 1;
}

int flow_next(struct flow *f, struct flow_event *ret, struct mvm_error *err)
{
	struct frame frame;
	int r = 0;

	*ret = (struct flow_event){ 0 };
	while (!f->ended && (r = channel_receive(&f->control->channel, &frame)) > 0) {
		control_watch_heard(f->control);
		if (frame.stream != f->stream || (!f->started && frame.type != FRAME_REPLY))
			continue;
		switch (frame.type) {
		case FRAME_REPLY:
			ret->kind = FLOW_STARTED;
			return take_reply(f, &frame, err);
		case FRAME_DATA:
			ret->kind = FLOW_OUTPUT;
			r = take_output(f, &frame, ret);
			break;
		case FRAME_CREDIT:
			ret->kind = FLOW_WINDOW;
			r = take_credit(f, &frame);
			break;
		case FRAME_END:
			ret->kind = FLOW_ENDED;
			r = take_end(f, &frame);
			break;
		default:
			continue;
		}
		if (r != 0)
			break;
	}
	return r < 0 ? control_gone(f->control, r, err) : r;
}
