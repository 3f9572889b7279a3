"""Optimisers, and the loop that runs them.

An optimiser is a small immutable object: `init` makes its state, `update` takes one step. Both are ordinary
`autograd_c.numpy` code on containers of parameters, without a look at a value, so that a whole step (loss,
gradient and update) is one straight-line program. `minimize` runs such steps::

    leaves of a step:      parameters   state   mini-batch
                                |         |         |  rows k to k + batch of the shuffled data
                                step: value_and_grad, update
                                |         |
    results of a step:     parameters   state   loss
                                +---------+            become the leaves of the next step

Where the step has a program, many steps run in one call of it (`_Steps`).

References
----------
.. [1] D. P. Kingma and J. Ba. Adam: a method for stochastic optimization. ICLR 2015. arXiv:1412.6980.
.. [2] B. T. Polyak. Some methods of speeding up the convergence of iteration methods. USSR Computational
   Mathematics and Mathematical Physics 4(5), 1964.
.. [3] I. Sutskever, J. Martens, G. Dahl and G. Hinton. On the importance of initialization and momentum in
   deep learning. ICML 2013.
.. [4] T. Tieleman and G. Hinton. Lecture 6.5: RMSProp. Neural networks for machine learning, 2012.
.. [5] J. Nocedal and S. J. Wright. Numerical Optimization, 2nd edition. Springer, 2006.
"""

import functools
import math
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from . import numpy as np
from ._core import Compiled, hooks, is_box
from .operators import stop_gradient, value_and_grad
from .replay import _Call, compile, plain
from .tree import describe, flatten, gather, locate, unflatten

__all__ = ["LBFGS", "SGD", "Adam", "Interrupted", "OptimizeResult", "RMSProp", "minimize"]


# ---------------------------------------------------------------- what optimisers share


def _check(condition, owner, name, wanted, error=ValueError):
    if not condition:
        value = describe(getattr(owner, name))
        raise error(f"{type(owner).__name__}: {name} must be {wanted}, got {value}")


def _check_number(owner, name, low, high=math.inf):
    """A real number from `low` on and below `high`."""
    value = getattr(owner, name)
    real = isinstance(value, (int, float, numpy.integer, numpy.floating)) and not isinstance(value, bool)
    _check(real, owner, name, "a number", TypeError)
    wanted = f"at least {low}" + (f" and less than {high}" if high < math.inf else " and finite")
    _check(low <= value < high, owner, name, wanted)
    # A NumPy number would turn float32 parameters into float64; a Python float takes their dtype.
    object.__setattr__(owner, name, float(value))


def _check_step_size(owner):
    if not callable(owner.step_size):
        _check_number(owner, "step_size", 0)


def _rate(step_size, steps):
    return step_size(steps) if callable(step_size) else step_size


def _real_leaves(params):
    """The leaves and the structure of the parameters, which must be real."""
    leaves, structure = flatten(params)
    if not leaves:
        raise ValueError(f"the parameters, {describe(params)}, hold no float and no array of floats")
    for leaf in leaves:
        if isinstance(leaf, complex) or getattr(leaf, "dtype", numpy.dtype(float)).kind == "c":
            raise TypeError(
                f"{describe(leaf)} cannot be a parameter: optimisers take real numbers; pass the real and "
                f"the imaginary part ({locate(params, leaf) or 'params'})"
            )
    return leaves, structure


def _zeros(params):
    leaves, structure = _real_leaves(params)
    zeros = [numpy.zeros(numpy.shape(leaf), getattr(leaf, "dtype", float))[()] for leaf in leaves]
    return unflatten(structure, zeros, constants=False)


def _as(value, like):
    """The value in the dtype of another; a schedule or a gradient may have a wider one."""
    dtype = getattr(like, "dtype", None)
    return value if getattr(value, "dtype", dtype) == dtype or dtype is None else value.astype(dtype)


def _each(update, params, gradient, *states):
    """Apply an update of one leaf to all: containers of its results, of which the first is the parameter."""
    leaves, structure = _real_leaves(params)
    trees = [gather(structure, tree) for tree in (gradient, *states)]
    results = [
        tuple(_as(new, leaf) for new in update(leaf, _as(slope, leaf), *rest))
        for leaf, slope, *rest in zip(leaves, *trees, strict=True)
    ]
    first, *others = zip(*results, strict=True)
    return unflatten(structure, first), *[unflatten(structure, each, constants=False) for each in others]


# ---------------------------------------------------------------- optimisers


class SGDState(NamedTuple):
    """State of `SGD`: steps taken, and the velocities (None without momentum)."""

    steps: Any
    velocity: Any


@dataclass(frozen=True)
class SGD:
    """Gradient descent: ``x -= step_size * gradient``, with momentum if wanted.

    With momentum (Polyak's heavy ball [2]_) the velocity ``v = momentum * v + gradient`` takes the place of
    the gradient; with `nesterov` it is ``gradient + momentum * v``, Nesterov's method as in [3]_, with the
    point at which the gradient is taken for the parameters.

    Parameters
    ----------
    step_size : float or callable
        A function of the number of steps taken so far (a float) makes a schedule.
    momentum : float, optional
        From 0 to below 1.
    nesterov : bool, optional

    Notes
    -----
    HIPS/autograd's ``sgd`` weights the gradient by ``1 - mass``: its ``step_size`` and ``mass`` are
    ``SGD(step_size * (1 - mass), mass)``.

    Examples
    --------
    >>> optimizer = SGD(0.25)
    >>> optimizer.update({"x": 2.0}, {"x": 4.0}, optimizer.init({"x": 2.0}))
    ({'x': 1.0}, SGDState(steps=1.0, velocity=None))
    """

    step_size: float | Callable[[Any], Any]
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self):
        _check_step_size(self)
        _check_number(self, "momentum", 0, 1)
        _check(self.momentum or not self.nesterov, self, "momentum", "positive with nesterov=True")

    def init(self, params):
        """Return the state before the first step."""
        return SGDState(0.0, _zeros(params) if self.momentum else None)

    def update(self, params, gradient, state):
        """Take one step: the new parameters and the new state."""
        rate = _rate(self.step_size, state.steps)

        def plain(x, g):
            return (x - rate * g,)

        def heavy(x, g, v):
            v = self.momentum * v + g
            return x - rate * (g + self.momentum * v if self.nesterov else v), v

        if not self.momentum:
            (params,) = _each(plain, params, gradient)
            return params, SGDState(state.steps + 1.0, None)
        params, velocity = _each(heavy, params, gradient, state.velocity)
        return params, SGDState(state.steps + 1.0, velocity)


class RMSPropState(NamedTuple):
    """State of `RMSProp`: steps taken, and the running means of the squared gradients."""

    steps: Any
    square: Any


@dataclass(frozen=True)
class RMSProp:
    """Gradient descent, each coordinate divided by the root of its mean squared gradient [4]_.

    ``s = decay * s + (1 - decay) * gradient**2``, then ``x -= step_size * gradient / (sqrt(s) + eps)``.

    Parameters
    ----------
    step_size : float or callable, optional
        A function of the number of steps taken so far (a float) makes a schedule.
    decay : float, optional
        From 0 to below 1.
    eps : float, optional

    Notes
    -----
    The means start at zero; those of HIPS/autograd's ``rmsprop`` start at one.

    Examples
    --------
    >>> result = minimize(lambda x: (x - 3.0) ** 2, 0.0, optimizer=RMSProp(0.1), steps=200)
    >>> abs(float(result.params) - 3.0) < 0.1
    True
    """

    step_size: float | Callable[[Any], Any] = 0.001
    decay: float = 0.9
    eps: float = 1e-8

    def __post_init__(self):
        _check_step_size(self)
        _check_number(self, "decay", 0, 1)
        _check_number(self, "eps", 0)

    def init(self, params):
        """Return the state before the first step."""
        return RMSPropState(0.0, _zeros(params))

    def update(self, params, gradient, state):
        """Take one step: the new parameters and the new state."""
        rate = _rate(self.step_size, state.steps)

        def one(x, g, s):
            s = self.decay * s + (1.0 - self.decay) * (g * g)
            return x - rate * g / (np.sqrt(s) + self.eps), s

        params, square = _each(one, params, gradient, state.square)
        return params, RMSPropState(state.steps + 1.0, square)


class AdamState(NamedTuple):
    """State of `Adam`: steps taken, both running means, and the powers of their decays (``b1**steps``)."""

    steps: Any
    mean: Any
    square: Any
    power1: Any
    power2: Any


@dataclass(frozen=True)
class Adam:
    """Adam, Algorithm 1 of [1]_.

    Running means of the gradient and of its square, divided by what their start at zero takes away::

        m = b1 * m + (1 - b1) * gradient        s = b2 * s + (1 - b2) * gradient**2
        x -= step_size * (m / (1 - b1**t)) / (sqrt(s / (1 - b2**t)) + eps)

    Parameters
    ----------
    step_size : float or callable, optional
        A function of the number of steps taken so far (a float) makes a schedule.
    b1, b2 : float, optional
        Decays of the means, from 0 to below 1.
    eps : float, optional

    Examples
    --------
    >>> optimizer = Adam(0.1)
    >>> state = optimizer.init(5.0)
    >>> x, state = optimizer.update(5.0, 8.0, state)  # the first step is as long as step_size
    >>> round(float(x), 6)
    4.9
    """

    step_size: float | Callable[[Any], Any] = 0.001
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self):
        _check_step_size(self)
        _check_number(self, "b1", 0, 1)
        _check_number(self, "b2", 0, 1)
        _check_number(self, "eps", 0)

    def init(self, params):
        """Return the state before the first step."""
        return AdamState(0.0, _zeros(params), _zeros(params), 1.0, 1.0)

    def update(self, params, gradient, state):
        """Take one step: the new parameters and the new state."""
        b1, b2 = self.b1, self.b2
        # The powers are carried: a power of the step number would be a transcendental function at each step.
        power1, power2 = b1 * state.power1, b2 * state.power2
        rate, scale = _rate(self.step_size, state.steps) / (1.0 - power1), 1.0 / (1.0 - power2)

        def one(x, g, m, s):
            m = b1 * m + (1.0 - b1) * g
            s = b2 * s + (1.0 - b2) * (g * g)
            return x - rate * m / (np.sqrt(scale * s) + self.eps), m, s

        params, mean, square = _each(one, params, gradient, state.mean, state.square)
        return params, AdamState(state.steps + 1.0, mean, square, power1, power2)


# ---------------------------------------------------------------- L-BFGS


class LBFGSState(NamedTuple):
    """State of `LBFGS`, on parameters laid out as one vector.

    `value` and `gradient` are those at the parameters that the last step found (None before the first);
    `moves` and `changes` are the last moves and changes of the gradient, newest last. `message` says why
    there is nothing more to do, and is empty until then.
    """

    value: Any
    gradient: Any
    moves: tuple
    changes: tuple
    message: str


class _Point(NamedTuple):
    """A point on the line that is searched, at `rate` times the direction."""

    rate: float
    value: float
    slope: float
    x: Any
    gradient: Any


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS: Newton steps with an inverse Hessian built from the last few gradients, and a line search.

    The direction is the two-loop recursion of [5]_ (algorithm 7.4, scaled by 7.20), the step length one that
    fulfils the strong Wolfe conditions (algorithms 3.5 and 3.6). For smooth losses over all data; there it
    converges to high precision where first-order methods crawl.

    How often the loss is evaluated in a step depends on its values, so a step is no straight-line
    program: it has `search` instead of `update`. The loss and its gradient, which take the time, are one; the
    search around them is Python.

    Parameters
    ----------
    memory : int, optional
        Moves that are remembered.
    gradient_tolerance : float, optional
        The loop ends when no component of the gradient is larger than this.
    max_evaluations : int, optional
        Evaluations in one line search.
    decrease, curvature : float, optional
        Constants of the Wolfe conditions: ``0 < decrease < curvature < 1``.

    Examples
    --------
    >>> def rosenbrock(x):
    ...     return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)
    >>> result = minimize(rosenbrock, np.zeros(5), optimizer=LBFGS(), steps=100)
    >>> result.params
    array([1., 1., 1., 1., 1.])
    >>> result.message
    'the gradient is within the tolerance'
    """

    memory: int = 10
    gradient_tolerance: float = 1e-8
    max_evaluations: int = 25
    decrease: float = 1e-4
    curvature: float = 0.9

    def __post_init__(self):
        for name in ("memory", "max_evaluations"):
            value = getattr(self, name)
            _check(_is_whole(value) and value >= 1, self, name, "a positive int")
        _check_number(self, "gradient_tolerance", 0)
        _check_number(self, "decrease", 0, 1)
        _check_number(self, "curvature", 0, 1)
        _check(0 < self.decrease < self.curvature, self, "decrease", "between 0 and curvature")

    def init(self, params):
        """Return the state before the first step."""
        _real_leaves(params)
        return LBFGSState(None, None, (), (), "")

    def search(self, value_and_gradient, params, state):
        """Take one step.

        Parameters
        ----------
        value_and_gradient : callable
            Function of the parameters.
        params : container
        state : LBFGSState

        Returns
        -------
        value : float
            The loss at `params`.
        params : container
            The new parameters; the old ones where the search found none that are better.
        state : LBFGSState
        """
        at, unflat = _flat(params)

        def evaluate(x):
            value, gradient = value_and_gradient(unflat(x))
            return float(value), _flat(gradient)[0]

        value, gradient, moves, changes, _ = state
        if value is None:
            value, gradient = evaluate(at)
        if numpy.max(numpy.abs(gradient), initial=0.0) <= self.gradient_tolerance:
            return value, params, state._replace(message="the gradient is within the tolerance")
        here = _Point(0.0, value, 0.0, at, gradient)
        found = self._lower_point(evaluate, here, moves, changes)
        if found is None and moves:
            # The remembered moves may be misleading; without them the direction is that of steepest descent.
            moves, changes = (), ()
            found = self._lower_point(evaluate, here, moves, changes)
        if found is None:
            message = "the line search found no lower point"
            return value, params, LBFGSState(value, gradient, moves, changes, message)
        moves, changes = self._remember(moves, changes, found.x - at, found.gradient - gradient)
        return value, unflat(found.x), LBFGSState(found.value, found.gradient, moves, changes, "")

    def _lower_point(self, evaluate, here, moves, changes):
        direction = -_product_with_inverse(here.gradient, moves, changes)
        slope = float(numpy.vdot(direction, here.gradient))
        if not slope < 0.0:
            return None
        left = iter(range(self.max_evaluations))

        def point(rate):
            """The point at a rate; None when the evaluations are used up."""
            if next(left, None) is None:
                return None
            x = here.x + rate * direction
            with numpy.errstate(over="ignore", invalid="ignore"):  # a trial may go too far
                value, gradient = evaluate(x)
                return _Point(rate, value, float(numpy.vdot(direction, gradient)), x, gradient)

        # Without memory nothing is known of the scale: the first trial moves by at most one.
        first = 1.0 if moves else min(1.0, 1.0 / float(numpy.sum(numpy.abs(here.gradient))))
        found = self._bracket(point, here._replace(slope=slope), first)
        return found if found.rate else None

    def _bracket(self, point, start, rate):
        """Go on until an interval must hold a point as wanted, and narrow it (algorithm 3.5)."""
        low = start
        while (trial := point(rate)) is not None:
            if not self._decreases(start, trial) or (low.rate and trial.value >= low.value):
                return self._zoom(point, start, low, trial)
            if self._is_flat(start, trial):
                return trial
            if trial.slope >= 0.0:
                return self._zoom(point, start, trial, low)
            low = trial
            rate *= 2.0
        return low

    def _zoom(self, point, start, low, high):
        """Narrow the interval (algorithm 3.6). `low` is the best point so far, and returned in the end."""
        while (trial := point(_between(low, high))) is not None:
            if not self._decreases(start, trial) or trial.value >= low.value:
                high = trial
                continue
            if self._is_flat(start, trial):
                return trial
            if trial.slope * (high.rate - low.rate) >= 0.0:
                high = low
            low = trial
        return low

    def _decreases(self, start, trial):
        """The first Wolfe condition, sufficient decrease; false for nan."""
        return trial.value <= start.value + self.decrease * trial.rate * start.slope

    def _is_flat(self, start, trial):
        """The second, strong Wolfe condition: the slope has been reduced."""
        return abs(trial.slope) <= -self.curvature * start.slope

    def _remember(self, moves, changes, move, change):
        """Add one pair, unless it would make the inverse Hessian indefinite or lose it in rounding."""
        if not numpy.vdot(move, change) > numpy.finfo(move.dtype).eps * numpy.vdot(change, change):
            return moves, changes
        return (*moves, move)[-self.memory :], (*changes, change)[-self.memory :]


def _flat(params):
    """The parameters as one vector, and the function back."""
    leaves, structure = _real_leaves(params)
    shapes = [numpy.shape(leaf) for leaf in leaves]
    dtypes = [numpy.asarray(leaf).dtype for leaf in leaves]
    stops = numpy.cumsum([math.prod(shape) for shape in shapes])

    def unflat(x):
        parts = numpy.split(x, stops[:-1])
        pieces = zip(parts, shapes, dtypes, strict=True)
        return unflatten(structure, [part.reshape(shape).astype(dtype)[()] for part, shape, dtype in pieces])

    return numpy.concatenate([numpy.ravel(leaf) for leaf in leaves]), unflat


def _product_with_inverse(gradient, moves, changes):
    """The inverse Hessian of L-BFGS times a vector (algorithm 7.4 of [5]_)."""
    q = gradient.copy()
    pairs = [(s, y, 1.0 / numpy.vdot(s, y)) for s, y in zip(moves, changes, strict=True)]
    weights = []
    for s, y, rho in reversed(pairs):
        weights.append(rho * numpy.vdot(s, q))
        q -= weights[-1] * y
    if pairs:
        s, y, rho = pairs[-1]
        q /= rho * numpy.vdot(y, y)
    for (s, y, rho), weight in zip(pairs, reversed(weights), strict=True):
        q += (weight - rho * numpy.vdot(y, q)) * s
    return q


def _between(low, high):
    """Where the cubic through both points is least ((3.59) of [5]_), kept away from the ends."""
    width = high.rate - low.rate
    rate = math.nan
    if math.isfinite(high.value) and math.isfinite(high.slope):
        d1 = low.slope + high.slope - 3.0 * (high.value - low.value) / width
        square = d1 * d1 - low.slope * high.slope
        if square >= 0.0:
            d2 = math.copysign(math.sqrt(square), width)
            below = high.slope - low.slope + 2.0 * d2
            rate = high.rate - width * (high.slope + d2 - d1) / below if below else math.nan
    share = (rate - low.rate) / width
    return low.rate + (min(max(share, 0.1), 0.9) if math.isfinite(share) else 0.5) * width


# ---------------------------------------------------------------- steps


class _Steps:
    """Runs steps: many at once where there is a program for them, else one by one.

    Parameters
    ----------
    step : callable
        Takes the list ``[*carry, *mini-batch]`` and returns the list ``[loss, *carry]``.
    """

    def __init__(self, step):
        self._step = step
        self._signature = None  # of the leaves that come next, once it has been looked for
        self._can_loop = {}  # by branch

    def run(self, carry, slices, losses):
        """Run one step for each item of `losses`, and fill those in; the carry after the last one.

        `slices` are the arrays from which mini-batches are cut, the first row of that of each step, and the
        number of rows.
        """
        arrays, starts, rows = slices
        done = 0

        def leaves():
            return carry + [array[starts[done] : starts[done] + rows] for array in arrays]

        while done < len(losses):
            program = self._program(leaves())
            if program is not None:
                carry, count = _replay(program, leaves(), slices, losses[done:], starts[done:])
                done += count
                if done == len(losses):
                    break
            # There is no program yet, or a guard has failed: a step by itself finds its branch.
            loss, *carry = self._step(leaves())
            losses[done] = stop_gradient(loss)
            done += 1
            self._signature = None
        return carry

    def _program(self, leaves):
        """The program that holds for these leaves now, or None: not recorded yet, or to be run in Python."""
        if type(self._step) is not Compiled:
            return None
        if self._signature is None:
            self._signature = self._signature_of(leaves)
        version = self._signature.valid() if self._signature is not None else None
        branch = version.branches[0] if version is not None and version.branches else None
        return branch.program if branch is not None and self._loops(branch, len(leaves)) else None

    def _signature_of(self, leaves):
        policy = self._step.policy
        if any(map(is_box, leaves)):
            return None
        is_static = policy.is_static if policy.has_statics else None
        return policy.signatures.get(_Call(policy.name, (leaves,), {}, is_static).key)

    def _loops(self, branch, size):
        """Whether results of a step have the types of the inputs that they become, and none is changed."""
        if branch not in self._can_loop:
            recording = branch.notes.recording
            pairs = zip(recording.inputs, recording.results[1:], strict=False)
            fits = all(_look(before) == _look(after) for before, after in pairs)
            self._can_loop[branch] = fits and not recording.updates
        return self._can_loop[branch]


def _look(value):
    """Shape, dtype and whether it is a Python float, of a node or a constant of a recording."""
    if hasattr(value, "meta"):
        return value.meta.shape, value.meta.dtype, value.weak
    return numpy.shape(value), numpy.asarray(value).dtype, type(value) is float


def _replay(program, leaves, slices, losses, starts):
    """Run steps in a program, up to the end or a guard that fails: the carry, and how many."""
    arrays = slices[0]
    size = len(leaves) - len(arrays)
    carry = [(place, place + 1) for place in range(size)]
    cuts = [(size + place, array, starts) for place, array in enumerate(arrays)]
    done, after, (traced,) = program.run_loop(leaves, len(losses), carry, cuts, [0])
    losses[:done] = traced
    # Python's floats stay what they are: with NumPy's another program would be needed.
    pairs = zip(leaves, after[:size], strict=False)
    return [float(new) if type(old) is float else new for old, new in pairs], done


class _Whole:
    """All data at once: they are part of the loss, and nothing is cut out of them."""

    def next(self, limit):
        return (), numpy.zeros(limit, dtype=numpy.int64), 0


class _Batches:
    """Mini-batches: blocks of rows of the data, which are shuffled at the start of each epoch."""

    def __init__(self, data, rows, seed):
        self._data = data
        self._rows = rows
        self._count = len(data[0])
        self._random = numpy.random.default_rng(seed)
        self._shuffled = [None] * len(data)
        self._starts = ()

    def next(self, limit):
        """At most `limit` mini-batches of one epoch: arrays, first rows, number of rows."""
        if not len(self._starts):
            self._shuffle()
        starts, self._starts = self._starts[:limit], self._starts[limit:]
        return self._shuffled, starts, self._rows

    def _shuffle(self):
        order = self._random.permutation(self._count)
        for place, array in enumerate(self._data):
            buffer, self._shuffled[place] = self._shuffled[place], None
            # A mini-batch is a view; what is still referred to, say by a list in the loss, keeps its rows.
            if buffer is None or sys.getrefcount(buffer) > 2:
                buffer = numpy.empty_like(array, order="C")
            # With mode="raise" NumPy would write into a buffer of its own first.
            self._shuffled[place] = numpy.take(array, order, axis=0, out=buffer, mode="clip")
        self._starts = numpy.arange(0, self._count - self._rows + 1, self._rows, dtype=numpy.int64)


class _Updates:
    """The loop of an optimiser with `update`.

    Attributes
    ----------
    reached : tuple
        Steps taken and the carry after them. Replaced as a whole, so that an interrupt cannot leave it half
        done.
    """

    message = ""

    def __init__(self, loss, params, state, optimizer, data, batches):
        leaves, structure = flatten(params)
        state_leaves, state_structure = _flat_state(optimizer, state)
        self._structures = structure, state_structure
        self._batches = batches
        loss = loss if isinstance(batches, _Batches) else _with_data(loss, data)
        self._steps = _Steps(_step_of(loss, optimizer, self._structures))
        self.reached = 0, leaves + state_leaves

    def advance(self, losses, stop):
        """Go on until `stop` steps have been taken."""
        steps, carry = self.reached
        while steps < stop:
            slices = self._batches.next(stop - steps)
            stage = steps + len(slices[1])
            carry = self._steps.run(carry, slices, losses[steps:stage])
            self.reached = steps, carry = stage, carry

    def parts(self):
        """Steps taken, and the parameters and the state after them."""
        steps, carry = self.reached
        return steps, *_split(self._structures, carry)[:2]


def _split(structures, leaves):
    """Parameters and state made of their leaves, and the leaves that follow."""
    first, second = (structure.size for structure in structures)
    params = unflatten(structures[0], leaves[:first])
    state = unflatten(structures[1], leaves[first : first + second])
    return params, state, leaves[first + second :]


def _like_loss(loss, fun):
    """A function made of a loss, compiled if the loss is, with the same options."""
    if type(loss) is not Compiled:
        return fun
    return compile(fun, **{name: value for name, value in loss.options.items() if name[:6] != "static"})


def _step_of(loss, optimizer, structures):
    """One step as a function of leaves to leaves."""
    value_and_gradient = value_and_grad(plain(loss))

    # It stands for the loss in messages, and what the loss reads is looked for in the loss's module.
    @functools.wraps(plain(loss))
    def step(leaves):
        params, state, batch = _split(structures, leaves)
        value, gradient = value_and_gradient(params, *batch)
        params, state = optimizer.update(params, gradient, state)
        parts = [flatten(params), _flat_state(optimizer, state)]
        for (_, structure), before, what in zip(parts, structures, ("parameters", "state"), strict=True):
            if structure != before:
                raise ValueError(
                    f"{type(optimizer).__name__}.update changed the structure of the {what}: containers, "
                    "keys and whatever is no float must stay as they are"
                )
        one = numpy.float64(1.0)  # losses are written down in float64, whatever they are in
        return [_as(one * value, one), *parts[0][0], *parts[1][0]]

    return _like_loss(loss, step)


def _with_data(loss, data):
    if not data:
        return loss

    loss_fun = plain(loss)

    @functools.wraps(loss_fun)
    def loss_of_data(params):
        return loss_fun(params, *data)

    return _like_loss(loss, loss_of_data)


def _flat_state(optimizer, state):
    try:
        return flatten(state)
    except TypeError as error:
        raise TypeError(f"the state of {type(optimizer).__name__}: {error}") from None


def _gradient_of(loss, structure):
    """Value and gradient of a loss; a compiled one is compiled as a function of the leaves."""
    if type(loss) is not Compiled:
        return value_and_grad(loss)
    loss_fun = plain(loss)

    @functools.wraps(loss_fun)
    def loss_of_leaves(leaves):
        return loss_fun(unflatten(structure, leaves))

    of_leaves = _like_loss(loss, value_and_grad(loss_of_leaves))

    def value_and_gradient(params):
        value, gradient = of_leaves(flatten(params)[0])
        return value, unflatten(structure, gradient, constants=False)

    return value_and_gradient


class _Searches:
    """The loop of an optimiser with `search`; `reached` as in `_Updates`."""

    def __init__(self, loss, params, state, optimizer, data):
        self._gradient = _gradient_of(_with_data(loss, data), flatten(params)[1])
        self._optimizer = optimizer
        self.reached = 0, params, state

    @property
    def message(self):
        """Why there is nothing more to do."""
        return self.reached[2].message

    def advance(self, losses, stop):
        """Go on until `stop` steps have been taken, or there is nothing more to do."""
        steps, params, state = self.reached
        while steps < stop and not state.message:
            losses[steps], params, state = self._optimizer.search(self._gradient, params, state)
            self.reached = steps, params, state = steps + (not state.message), params, state

    def parts(self):
        """Steps taken, and the parameters and the state after them."""
        return self.reached


# ---------------------------------------------------------------- the loop


@dataclass(frozen=True, eq=False)
class OptimizeResult:
    """What `minimize` returns.

    Attributes
    ----------
    params : container
        The parameters after the last step, in the structure of those given.
    losses : ndarray of float64
        For each step the loss at the parameters from which it started, on its mini-batch.
    state : object
        The optimiser's state; ``minimize(..., state=result.state)`` goes on from `params`.
    steps : int
        Steps taken.
    message : str
        Why it ended.
    """

    params: Any
    losses: Any
    state: Any
    steps: int
    message: str


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `minimize`.

    It ends the program like any KeyboardInterrupt unless it is caught, so that nothing goes on by mistake
    with parameters that are not ready.

    Attributes
    ----------
    result : OptimizeResult
        What had been reached, at the end of the last complete chunk of steps.
    """

    def __init__(self, result):
        super().__init__(f"minimize was interrupted after {result.steps} steps; `result` of this holds them")
        self.result = result


def minimize(
    loss,
    params,
    *,
    optimizer,
    steps,
    data=(),
    batch=None,
    seed=None,
    callback=None,
    every=100,
    progress=False,
    state=None,
):
    """Minimise a loss by gradients.

    Parameters
    ----------
    loss : callable
        ``loss(params, *data)`` returns one real number. Of a compiled loss (`autograd_c.compile`) the whole
        step is compiled: many steps, mini-batches included, then run without Python.
    params : container
        Where to start: any nesting of lists, tuples and dicts of floats and arrays of floats. Not changed.
    optimizer : object
        `Adam`, `SGD`, `RMSProp`, `LBFGS`, or an object of yours with ``init(params)`` and ``update(params,
        gradient, state)``. Its state is a container of floats and arrays of floats; whatever else it holds is
        constant.
    steps : int
        The number of updates; `LBFGS` may need less.
    data : tuple, optional
        Further arguments of the loss.
    batch : int, optional
        Rows in a mini-batch. All data are then arrays with the same number of rows. They are copied in a
        random order at the start of each epoch, and the mini-batches are blocks of `batch` rows of that copy;
        rows that are left over sit out this epoch. None gives all data to each step, in their order.
    seed : int or anything that ``numpy.random.default_rng`` takes, optional
        For the order of mini-batches.
    callback : callable, optional
        ``callback(step, params, loss)`` after every `every` steps: steps taken, parameters after the
        last one, and the last item of `losses`. StopIteration from it ends the loop. The arrays are those
        from which the next step starts: copy what you want to change.
    every : int, optional
        Steps in a chunk: between two calls of the callback, updates of the progress bar, and places where an
        interrupt takes effect at the latest.
    progress : bool, optional
        Show a progress bar (needs tqdm).
    state : object, optional
        The optimiser's state of an earlier result, to go on from there.

    Returns
    -------
    OptimizeResult
        Floats among the parameters come back as NumPy's.

    Raises
    ------
    Interrupted
        On Ctrl-C: a KeyboardInterrupt whose `result` holds what had been reached.

    Examples
    --------
    >>> x = np.linspace(0.0, 1.0, 50)
    >>> def squares(line, x, y):
    ...     return np.mean((line["slope"] * x + line["offset"] - y) ** 2)
    >>> result = minimize(
    ...     squares,
    ...     {"slope": 0.0, "offset": 0.0},
    ...     optimizer=Adam(0.1),
    ...     steps=500,
    ...     data=(x, 2.0 * x + 1.0),
    ...     batch=10,
    ...     seed=0,
    ... )
    >>> round(float(result.params["slope"]), 3), round(float(result.params["offset"]), 3)
    (2.0, 1.0)
    """
    _check_optimizer(optimizer)
    steps = _whole("steps", steps, 0)
    every = _whole("every", every, 1)
    if callback is not None and not callable(callback):
        raise TypeError(f"minimize: callback must be a function, got {describe(callback)}")
    if not isinstance(data, (tuple, list)):
        raise TypeError(f"minimize: data must be a tuple such as (x, y) or (x,), got {describe(data)}")
    params = _start(params)
    if state is None:
        state = optimizer.init(params)
    if hasattr(optimizer, "search"):
        if batch is not None:
            raise ValueError(
                f"minimize: {type(optimizer).__name__} cannot use mini-batches, since its line search "
                "compares losses on the same data; leave out batch"
            )
        run = _Searches(loss, params, state, optimizer, tuple(data))
    else:
        batches = _Whole() if batch is None else _Batches(*_batched(data, batch), seed)
        run = _Updates(loss, params, state, optimizer, tuple(data), batches)
    return _loop(run, steps, every, callback, progress)


def _loop(run, steps, every, callback, progress):
    """Chunks of steps, with what happens between them."""
    losses = numpy.empty(steps)
    message = "all steps have been taken"
    try:
        with _Bar(progress, steps) as bar:
            taken = 0
            while taken < steps and not run.message:
                before = taken
                run.advance(losses, min(steps, before + every))
                taken = run.reached[0]
                if taken > before:
                    bar(taken, losses[taken - 1])
                if callback is not None and taken == before + every:
                    try:
                        callback(taken, run.parts()[1], float(losses[taken - 1]))
                    except StopIteration:
                        message = "the callback has ended it"
                        break
    except KeyboardInterrupt:
        raise Interrupted(_result(run, losses, "interrupted")) from None
    return _result(run, losses, run.message or message)


def _result(run, losses, message):
    steps, params, state = run.parts()
    return OptimizeResult(params, losses[:steps].copy(), state, steps, message)


class _Bar:
    """A progress bar, or none: called with the steps taken and the last loss."""

    def __init__(self, wanted, steps):
        self._bar = None
        if wanted:
            try:
                from tqdm import tqdm
            except ImportError:
                raise ImportError(
                    "minimize: progress=True needs tqdm; install it (pip install tqdm) or leave it out"
                ) from None
            self._bar = tqdm(total=steps, unit=" steps", ncols=80)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def __call__(self, taken, loss):
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            self._bar.update(taken - self._bar.n)


def _start(params):
    """The parameters as the loop takes them: arrays of their own, and NumPy's numbers."""
    leaves, structure = _real_leaves(params)
    return unflatten(structure, [_own(leaf) for leaf in leaves])


def _own(leaf):
    if is_box(leaf):
        return leaf
    if isinstance(leaf, numpy.ndarray) and type(leaf) is not numpy.ndarray:
        leaf = hooks["plain_array"](leaf)
    return numpy.array(leaf, dtype=numpy.asarray(leaf).dtype.newbyteorder("="), order="C")[()]


def _batched(data, batch):
    """The data as arrays with the same number of rows, and the size of mini-batches."""
    batch = _whole("batch", batch, 1)
    if not data:
        raise ValueError("minimize: batch needs data: the arrays whose rows make the mini-batches")
    arrays = [_rows_of(value, place) for place, value in enumerate(data)]
    counts = [len(array) for array in arrays]
    if len(set(counts)) > 1:
        raise ValueError(f"minimize: data must have the same number of rows, got {counts}")
    if batch > counts[0]:
        raise ValueError(f"minimize: batch is {batch}, but the data have only {counts[0]} rows")
    return arrays, batch


def _rows_of(value, place):
    array = numpy.asarray(hooks["plain_array"](value) if isinstance(value, numpy.ndarray) else value)
    if not array.ndim or array.dtype.kind not in "fciub":
        raise TypeError(
            f"minimize: with batch, data[{place}] must be an array of numbers with rows, got "
            f"{describe(value)}; the loss may read it from its closure"
        )
    return array


def _check_optimizer(optimizer):
    if isinstance(optimizer, type):
        name = optimizer.__name__
        raise TypeError(f"minimize: optimizer must be an object, got the class {name}; write {name}(...)")
    if not hasattr(optimizer, "init") or not (hasattr(optimizer, "update") or hasattr(optimizer, "search")):
        raise TypeError(
            f"minimize: optimizer must have init and update, such as Adam(0.01), got {describe(optimizer)}"
        )


def _is_whole(value):
    return isinstance(value, (int, numpy.integer)) and not isinstance(value, bool)


def _whole(name, value, least):
    if not _is_whole(value):
        raise TypeError(f"minimize: {name} must be an int, got {describe(value)}")
    if value < least:
        raise ValueError(f"minimize: {name} must be at least {least}, got {value}")
    return operator.index(value)
