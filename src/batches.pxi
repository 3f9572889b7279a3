# Products with vectors.
#
# Products of the rows of an argument with one matrix are done as one: the steps of a recurrence read
# `sequence[t] @ kernel` one after another, or `kernel @ sequence[t]`, and each of these would go through the
# whole matrix. Sums of the one product may be taken in another order. Steps that are matrices are left alone:
# each fills the machine by itself, and its product is added up in place.

cdef enum:
    FEW_ROWS = 4        # fewer are not worth it


@cython.final
cdef class Batch:
    """Products of rows of one array with one matrix, or with its transpose."""
    cdef int rows, matrix       # operands of the recording
    cdef bint turned            # it is the transpose that has the rows on its left
    cdef dict places            # by product: which row
    cdef Py_ssize_t first, size     # the rows
    cdef int product            # in the draft; -1 before it is made


cdef dict find_batches(Code code):
    """By number of the product: the batch that it belongs to."""
    cdef dict batches = {}, found = {}
    cdef Py_ssize_t i
    cdef Batch batch
    for i in range(code.n):
        if is_plain_product(&code.records[i]):
            take_step(code, <int>i, False, found)
            take_step(code, <int>i, True, found)
    for batch in found.values():
        rows = set(batch.places.values())
        batch.first = min(rows)
        batch.size = len(rows)
        if batch.size >= FEW_ROWS and batch.size == max(rows) - batch.first + 1:
            for product in batch.places:
                batches[product] = batch
    return batches


cdef inline bint is_plain_product(const Record *r) noexcept:
    return (r.prim == <PyObject *>P_MATMUL or r.prim == <PyObject *>P_DOT) and r.count == 2 and r.extra < 0


cdef int take_step(Code code, int product, bint second, dict found) except -1:
    """Notes a product one factor of which, the second or the first, is a row of an input."""
    cdef Record *r = &code.records[product]
    cdef int row = code.operands[r.first + second], matrix = code.operands[r.first + 1 - second], rows
    cdef bint turned = second   # matrix @ row is row @ matrix.T
    cdef Batch batch
    cdef object place
    if row < 0 or matrix < 0:
        return 0
    place = row_of_input(code, row)
    if place is None:
        return 0
    rows = code.operands[code.records[row].first]
    r = &code.records[matrix]
    if r.prim == <PyObject *>P_TRANSPOSE and r.count == 1 and r.extra < 0 and code.operands[r.first] >= 0:
        turned = not turned
        matrix = code.operands[r.first]
    if not fits(<object>code.records[rows].meta, code.records[matrix].meta, turned):
        return 0
    key = (rows, matrix, turned)
    batch = found.get(key)
    if batch is None:
        found[key] = batch = Batch.__new__(Batch)
        batch.rows = rows
        batch.matrix = matrix
        batch.turned = turned
        batch.places = {}
        batch.product = -1
    batch.places[product] = place
    return 0


cdef object row_of_input(Code code, int number):
    """Which row of an input of two axes a value is; None for other values."""
    cdef Record *r = &code.records[number]
    cdef Record *rows
    cdef object place
    if r.prim != <PyObject *>P_GETITEM or r.count != 2 or r.extra >= 0 or code.operands[r.first] < 0 \
            or code.operands[r.first + 1] >= 0:
        return None
    rows = &code.records[code.operands[r.first]]
    if rows.kind != INPUT_NODE or rows.meta == NULL or len((<Meta>rows.meta).shape) != 2:
        return None
    place = code.constant_at(code.operands[r.first + 1])
    if type(place) is not int:
        return None
    return place if place >= 0 else place + (<Meta>rows.meta).shape[0]


cdef bint fits(Meta rows, PyObject *matrix, bint turned) except -1:
    """Whether rows can be multiplied by a matrix of the same floats, or by its transpose."""
    cdef Meta of_matrix
    if matrix == NULL:
        return False
    of_matrix = <Meta>matrix
    return len(of_matrix.shape) == 2 and of_matrix.dtype is rows.dtype and is_real(rows.dtype) \
        and of_matrix.shape[1 if turned else 0] == rows.shape[1]


cdef int batched(Draft d, Batch batch, int product) except? -1:
    """The operand that stands for a product of a batch: a row of the one product."""
    if batch.product < 0:
        batch.product = product_of_batch(d, batch)
    place = batch.places[product] - batch.first
    return d.last_call(P_GETITEM, [batch.product, d.constant(place)], None)


cdef int product_of_batch(Draft d, Batch batch) except -1:
    cdef int rows = d.operand(batch.rows), matrix = d.operand(batch.matrix)
    cdef Meta of_rows = d.meta_of(rows), of_matrix = d.meta_of(matrix)
    if batch.size < of_rows.shape[0]:
        index = slice(batch.first, batch.first + batch.size)
        of_rows = Meta((batch.size, of_rows.shape[1]), of_rows.dtype)
        rows = d.call(P_GETITEM, [rows, d.constant(index)], None, of_rows)
    if batch.turned:
        of_matrix = Meta(of_matrix.shape[::-1], of_matrix.dtype)
        matrix = d.call(P_TRANSPOSE, [matrix], None, of_matrix)
    return d.call(P_MATMUL, [rows, matrix], None, Meta((batch.size, of_matrix.shape[1]), of_rows.dtype))


cdef int turned_product(Draft d) except? -1:
    """For a transposed outer product: the outer product the other way round; NO_OPERAND for other calls.

    So the adjoint of `w.T @ x` joins the group that adds it to the one of the step before.
    """
    cdef int first = d.args[0], k
    cdef int factors[2]
    cdef Record *r
    cdef Meta meta
    cdef list turned = []
    if first < 0 or d.now.count != 1 or d.now.extra >= 0 or len((<Meta>d.now.meta).shape) != 2:
        return NO_OPERAND
    r = d.record(first)
    if r.prim != <PyObject *>P_MUL or r.count != 2 or r.extra >= 0 or d.w[first].waiting != 1:
        return NO_OPERAND
    factors = [d.code.operands[r.first], d.code.operands[r.first + 1]]
    for k in range(2):
        meta = d.meta_of(factors[k])
        if meta is None or not is_line(meta.shape):
            return NO_OPERAND
    for k in range(2):
        turned.append(turned_line(d, factors[k]))
    d.w[first].replaced = True
    return d.last_call(P_MUL, turned, None)


cdef bint is_line(tuple shape) except -1:
    """Whether an array is a factor of an outer product: a vector, a row or a column."""
    return len(shape) == 1 or len(shape) == 2 and 1 in shape


cdef int turned_line(Draft d, int line) except -1:
    """A row as a column, a column as a row."""
    cdef Meta meta = d.meta_of(line)
    cdef object column
    if len(meta.shape) == 1:
        column = d.constant((Ellipsis, None))
        return d.call(P_GETITEM, [line, column], None, Meta((meta.shape[0], 1), meta.dtype))
    return d.call(P_TRANSPOSE, [line], None, Meta(meta.shape[::-1], meta.dtype))
