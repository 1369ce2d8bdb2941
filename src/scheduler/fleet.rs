//! Which targets are traced: a task each, told what to do by orders.
//!
//! A configuration is applied by what differs: the task of a target that stays the same hears nothing of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};

use super::Scheduler;
use crate::{
    config::{Global, Target, TargetName},
    monitor::{Monitor, asks_alike},
    storage::StorageError,
};

/// What the task of a target is to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// Trace it, as it is set up here.
    Trace { target: Arc<Target>, rediscover_interval: Duration },
    /// End.
    Stop,
}

/// Waits until a round of this target is of no use any more: it is no longer wanted, or its flows are to be asked another way.
pub(super) async fn void(orders: &mut watch::Receiver<Order>, asked: &Target) {
    let is_void = |order: &Order| match order {
        Order::Trace { target, .. } => !asks_alike(target, asked),
        Order::Stop => true,
    };
    // An error says that nobody gives orders any more.
    let _ = orders.wait_for(is_void).await;
}

/// The targets that are traced. Dropping it ends all.
#[derive(Debug)]
pub struct Fleet {
    scheduler: Scheduler,
    rounds_max: u32,
    orders: BTreeMap<TargetName, watch::Sender<Order>>,
    /// Those that were told to stop and may still be writing down what they know.
    ending: BTreeMap<TargetName, watch::Sender<Order>>,
    tasks: JoinSet<()>,
}

/// What a fleet is to become, with all that could fail behind it.
#[derive(Debug)]
pub struct Plan {
    targets: Vec<Arc<Target>>,
    monitors: BTreeMap<TargetName, Monitor>,
    rediscover_interval: Duration,
    rounds_max: u32,
}

impl Fleet {
    /// A fleet without targets. `rounds_max` is what the scheduler was made with.
    #[must_use]
    pub fn new(scheduler: Scheduler, rounds_max: u32) -> Self {
        Self {
            scheduler,
            rounds_max,
            orders: BTreeMap::new(),
            ending: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Prepares to trace these targets and no others, each name once. Those that come go on from what was kept of them. Blocks
    /// while that is read.
    ///
    /// # Errors
    /// When what was kept of a target cannot be read.
    pub fn plan(&self, global: &Global, targets: Vec<Arc<Target>>) -> Result<Plan, StorageError> {
        let coming = targets.iter().filter(|target| !self.orders.contains_key(&target.name));
        let monitors = coming.map(|target| {
            let mut monitor = Monitor::new(Arc::clone(target), global.rediscover_interval);
            if let Some(state) = self.scheduler.kept(target)? {
                monitor.restore(state);
            }
            Ok((target.name.clone(), monitor))
        });
        Ok(Plan {
            monitors: monitors.collect::<Result<_, StorageError>>()?,
            targets,
            rediscover_interval: global.rediscover_interval,
            rounds_max: global.max_rounds_in_progress,
        })
    }

    /// Does what was planned: those that come are started, those that go are taken out at once, those that changed go on as they
    /// are set up now. The plan has to be of this fleet, with no other done in between.
    pub fn apply(&mut self, plan: Plan) {
        let Plan { targets, mut monitors, rediscover_interval, rounds_max } = plan;
        self.ending.retain(|_, order| !order.is_closed());
        self.scheduler.turns.resize(mem::replace(&mut self.rounds_max, rounds_max), rounds_max);
        // Those that go first: what is seen of those that come is seen without them.
        let wanted: BTreeSet<_> = targets.iter().map(|target| &target.name).collect();
        let (staying, going) =
            mem::take(&mut self.orders).into_iter().partition(|(name, _)| wanted.contains(name));
        self.orders = staying;
        for (name, orders) in going {
            orders.send_replace(Order::Stop);
            self.scheduler.store.remove(name.as_str());
            self.ending.insert(name, orders);
        }
        for target in targets {
            let order = Order::Trace { target: Arc::clone(&target), rediscover_interval };
            if let Some(orders) = self.orders.get(&target.name) {
                self.redirect(orders, &target, order);
            } else if let Some(monitor) = monitors.remove(&target.name) {
                let orders = self.start(monitor, order);
                self.orders.insert(target.name.clone(), orders);
            }
        }
    }

    /// How many targets there are.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.orders.len()
    }

    /// Waits for a task that ends in another way than it was told to, which none should.
    pub async fn broken(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(())) => {}
                Some(Err(error)) => return error,
                None => std::future::pending().await,
            }
        }
    }

    /// Tells a task what is different, if anything is.
    fn redirect(&self, orders: &watch::Sender<Order>, target: &Target, order: Order) {
        orders.send_if_modified(|current| {
            let is_other = *current != order;
            if is_other {
                *current = order;
            }
            is_other
        });
        // Other labels do not wait for the end of the round.
        let name = target.name.as_str();
        let shown = self.scheduler.store.target(name);
        if shown.is_some_and(|shown| shown.labels != target.labels) {
            self.scheduler.store.relabel(name, &target.labels);
        }
    }

    fn start(&mut self, monitor: Monitor, order: Order) -> watch::Sender<Order> {
        let (orders, received) = watch::channel(order);
        let scheduler = self.scheduler.clone();
        let before = self.ending.remove(&monitor.target().name);
        // A configured target is visible before its first round.
        scheduler.store.publish(monitor.snapshot());
        self.tasks.spawn(async move {
            // Two tasks must not write one file.
            if let Some(before) = before {
                before.closed().await;
            }
            scheduler.watch(monitor, received).await;
        });
        orders
    }
}
